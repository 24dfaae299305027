//! Who may use the key API.

use std::path::PathBuf;

use super::super::reader::{Fields, Reader, quoted};
use super::super::settings::{
    Management, ManagementClient, ManagementJwt, ManagementToken, Scope, VerifyAccess,
};
use super::super::tree::Node;
use super::keys::https_url;
use super::{all, optional};

pub(super) fn read(reader: &mut Reader, node: &Node) -> Option<Management> {
    let known = [
        "tokens",
        "jwt",
        "clients",
        "signing_keys",
        "verify",
        "environment_keys",
    ];
    let fields = reader.fields(node, "management", &known)?;
    let tokens = optional(fields.get("tokens"), |node| {
        holders(reader, node, ["name", "token_file"], "token").map(|tokens| {
            let token = |(name, token_file, permissions)| ManagementToken {
                name,
                token_file,
                permissions,
            };
            tokens.into_iter().map(token).collect()
        })
    });
    let clients = optional(fields.get("clients"), |node| {
        holders(reader, node, ["id", "secret_file"], "client").map(|clients| {
            let client = |(id, secret_file, permissions)| ManagementClient {
                id,
                secret_file,
                permissions,
            };
            clients.into_iter().map(client).collect()
        })
    });
    let jwt = optional(fields.get("jwt"), |node| jwt(reader, node));
    let signing_keys_dir = optional(fields.get("signing_keys"), |node| {
        let fields = reader.fields(node, "management.signing_keys", &["dir"])?;
        fields.require(reader, "dir").and_then(|node| reader.path(node))
    });
    let access = [("open", VerifyAccess::Open), ("strict", VerifyAccess::Strict)];
    let verify = optional(fields.get("verify"), |node| reader.choice(node, &access));
    let environment_keys = optional(fields.get("environment_keys"), |node| reader.boolean(node));
    Some(Management {
        tokens: tokens?.unwrap_or_default(),
        jwt: jwt?,
        clients: clients?.unwrap_or_default(),
        signing_keys_dir: signing_keys_dir?,
        verify: verify?.unwrap_or_default(),
        environment_keys: environment_keys?.unwrap_or(false),
    })
}

type Holder = (Box<str>, PathBuf, Vec<Box<str>>);

/// A list of those that show a secret from a file and then may do something.
fn holders(reader: &mut Reader, node: &Node, [id, file]: [&str; 2], what: &str) -> Option<Vec<Holder>> {
    let items = reader.list(node, "tokens or clients", 1000)?;
    let mut seen: Vec<Box<str>> = Vec::new();
    all(items.iter().map(|item| {
        let fields = reader.fields(item, what, &[id, file, "permissions"])?;
        let name = fields
            .require(reader, id)
            .and_then(|node| unique_name(reader, node, what, &mut seen));
        let path = fields.require(reader, file).and_then(|node| reader.path(node));
        let permissions = permissions(reader, &fields);
        Some((name?, path?, permissions?))
    }))
}

fn unique_name(reader: &mut Reader, node: &Node, what: &str, seen: &mut Vec<Box<str>>) -> Option<Box<str>> {
    let name = reader.name(node, "its name")?;
    if seen.contains(&name) {
        reader.mistake(&node.place, format!("two of {what} {}", quoted(&name)));
        return None;
    }
    seen.push(name.clone());
    Some(name)
}

fn permissions(reader: &mut Reader, fields: &Fields<'_>) -> Option<Vec<Box<str>>> {
    let node = fields.require(reader, "permissions")?;
    let items = reader.list(node, "permissions", 100)?;
    let permissions = all(items.iter().map(|item| reader.parsed::<Scope>(item)))?;
    Some(
        permissions
            .iter()
            .map(|permission| permission.as_str().into())
            .collect(),
    )
}

fn jwt(reader: &mut Reader, node: &Node) -> Option<ManagementJwt> {
    let fields = reader.fields(node, "management.jwt", &["issuer", "audience", "jwks_url"])?;
    let issuer = fields
        .require(reader, "issuer")
        .and_then(|node| https_url(reader, node));
    let audience = fields
        .require(reader, "audience")
        .and_then(|node| reader.printable(node, "an audience", 1..=1024));
    let jwks_url = fields
        .require(reader, "jwks_url")
        .and_then(|node| https_url(reader, node));
    Some(ManagementJwt {
        issuer: issuer?,
        audience: audience?,
        jwks_url: jwks_url?,
    })
}
