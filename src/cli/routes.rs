//! `latchkey routes`: the compiled table, in matching order.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Environment;
use super::config::load_settings;
use super::table;
use crate::config::{Access, CorsPreflight, Scope, ScopeRule};
use crate::decision::{CompiledRoute, Policy};

/// The arguments of `latchkey routes`.
#[derive(clap::Args, Debug)]
pub(super) struct RoutesArgs {
    /// The configuration; without it, LATCHKEY_CONFIG or the embedded defaults
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

pub(super) fn run(args: &RoutesArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let named = super::named_config(args.config.clone(), environment);
    let settings = match load_settings(named.as_deref(), environment) {
        Ok(loaded) => loaded.settings,
        Err(code) => return Ok(code),
    };
    let policy = Policy::compile(Arc::new(settings));
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Json => {
            let routes: Vec<Value> = policy.routes().iter().map(|route| as_json(route)).collect();
            writeln!(out, "{}", json!({"routes": routes}))?;
        }
        Output::Table if policy.routes().iter().next().is_none() => {
            writeln!(out, "no routes: every request is refused")?;
        }
        Output::Table => {
            for line in table_of(&policy) {
                writeln!(out, "{line}")?;
            }
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn table_of(policy: &Policy) -> Vec<String> {
    let head = [
        "HOST", "PATH", "METHODS", "ROUTE", "KEY", "API", "SCOPES", "LIMIT", "GUARD",
    ]
    .map(String::from);
    let mut rows = vec![head];
    rows.extend(policy.routes().iter().map(|route| as_row(route)));
    table::lines(&rows)
}

fn as_row(route: &CompiledRoute) -> [String; 9] {
    let settings = &route.settings;
    let methods = if settings.methods.is_empty() {
        "any".into()
    } else {
        settings.methods.join(" ")
    };
    let dash = || "-".to_owned();
    let named = |name: &Option<Box<str>>| name.as_deref().map_or_else(dash, str::to_owned);
    let [key, api, scopes, limit, guard] = match &settings.access {
        Access::Public => ["public".into(), dash(), dash(), dash(), dash()],
        Access::Key(access) => [
            if access.optional { "optional" } else { "required" }.into(),
            access.api.to_string(),
            match &access.scopes {
                ScopeRule::All(scopes) if scopes.is_empty() => dash(),
                ScopeRule::All(scopes) => joined(scopes, " "),
                ScopeRule::Any(scopes) => joined(scopes, " | "),
            },
            named(&access.rate_limit),
            named(&access.guard),
        ],
    };
    [
        settings.host.as_deref().unwrap_or("any").into(),
        settings.path.as_str().into(),
        methods,
        settings.name.to_string(),
        key,
        api,
        scopes,
        limit,
        guard,
    ]
}

fn joined(scopes: &[Scope], between: &str) -> String {
    words(scopes).join(between)
}

fn words(scopes: &[Scope]) -> Vec<&str> {
    scopes.iter().map(Scope::as_str).collect()
}

/// In the words of the configuration.
fn as_json(route: &CompiledRoute) -> Value {
    let settings = &route.settings;
    let mut json = json!({
        "name": settings.name,
        "host": settings.host,
        "path": settings.path.as_str(),
        "methods": settings.methods,
        "cors_preflight": match settings.cors_preflight {
            CorsPreflight::Check => "check",
            CorsPreflight::Allow => "allow",
        },
    });
    let rest = match &settings.access {
        Access::Public => json!({"public": true}),
        Access::Key(access) => json!({
            "public": false,
            "auth": if access.optional { "optional" } else { "required" },
            "api": access.api,
            "scopes": match &access.scopes {
                ScopeRule::All(scopes) => json!({"all": words(scopes)}),
                ScopeRule::Any(scopes) => json!({"any": words(scopes)}),
            },
            "rate_limit": access.rate_limit,
            "guard": access.guard,
        }),
    };
    if let (Value::Object(json), Value::Object(rest)) = (&mut json, rest) {
        json.extend(rest);
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::testing::{policy_of, public, route, route_with};

    #[test]
    fn routes_stand_in_the_order_in_which_they_match() {
        let policy = policy_of(vec![
            public("rest", "/{*rest}"),
            route("one", "GET", "/a/{id}", "read:x write:x"),
            route_with(route("plain", "POST GET", "/a/b", ""), |access| {
                access.optional = true
            }),
        ]);
        assert_eq!(
            table_of(&policy),
            [
                "HOST  PATH      METHODS   ROUTE  KEY       API     SCOPES          LIMIT  GUARD",
                "any   /a/b      POST GET  plain  optional  api_ai  -               -      -",
                "any   /a/{id}   GET       one    required  api_ai  read:x write:x  -      -",
                "any   /{*rest}  any       rest   public    -       -               -      -",
            ]
        );
        let first = policy.routes().iter().next().expect("a route");
        assert_eq!(as_json(first)["auth"], "optional");
    }
}
