//! The real Envoy in the three shapes that it is met in: with the configuration that `deploy/` ships, and as Istio and Envoy
//! Gateway configure it. Only ports are changed, and what a test asks for.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::Client;
use super::process::{Finished, Process, run};
use super::{START, in_repository, wait_for};

const BINARY: &str = ".tools/envoy/bin/envoy";
const LATCHKEY: &str = "port_value: 9191";
/// Stands in a configuration for the file that Envoy reads its endpoints from.
const ENDPOINTS: &str = "path: ENDPOINTS";

/// A way in which Envoy is configured, by hand or by a product.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// What `deploy/` ships: every setting that makes it safer.
    Full,
    /// What Istio's API can say.
    Istio,
    /// What Envoy Gateway's API can say.
    EnvoyGateway,
}

impl Shape {
    pub(crate) const ALL: [Self; 3] = [Self::Full, Self::Istio, Self::EnvoyGateway];

    fn file(self) -> &'static str {
        match self {
            Self::Full => "deploy/envoy/envoy.yaml",
            Self::Istio => "tests/it/envoy/istio.yaml",
            Self::EnvoyGateway => "tests/it/envoy/envoy-gateway.yaml",
        }
    }

    /// What to replace so that names with `_` get through: a test that wants to see what Latchkey does must let them in.
    pub(crate) fn letting_underscores_in(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Full | Self::EnvoyGateway => &[(
                "headers_with_underscores_action: REJECT_REQUEST",
                "headers_with_underscores_action: ALLOW",
            )],
            Self::Istio => &[],
        }
    }
}

/// Makes a test for each shape of each function that takes one.
macro_rules! in_each_shape {
    ($($test:ident),+ $(,)?) => { $(
        mod $test {
            use crate::support::Shape;

            #[test]
            fn full() {
                super::$test(Shape::Full);
            }

            #[test]
            fn istio() {
                super::$test(Shape::Istio);
            }

            #[test]
            fn envoy_gateway() {
                super::$test(Shape::EnvoyGateway);
            }
        }
    )+ };
}
pub(crate) use in_each_shape;

/// A running Envoy.
pub(crate) struct Envoy {
    pub(crate) listener: SocketAddr,
    _process: Process,
    folder: TempDir,
}

impl Envoy {
    /// Starts it before one or more Latchkeys, with texts of the shipped configuration replaced.
    pub(crate) fn start(latchkeys: &[SocketAddr], backend: SocketAddr, replaced: &[(&str, &str)]) -> Self {
        Self::start_in(Shape::Full, latchkeys, backend, replaced)
    }

    pub(crate) fn start_in(
        shape: Shape,
        latchkeys: &[SocketAddr],
        backend: SocketAddr,
        replaced: &[(&str, &str)],
    ) -> Self {
        let binary = binary();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let in_folder = |name: &str| folder.path().join(name);
        let (config, admin, log) = (
            in_folder("envoy.yaml"),
            in_folder("admin"),
            in_folder("envoy.log"),
        );
        write_endpoints(folder.path(), latchkeys);
        fs::write(
            &config,
            configuration(shape, folder.path(), latchkeys, backend, replaced),
        )
        .expect("the configuration can be written");
        let stdio = |name: &str| File::create(in_folder(name)).expect("a log can be created");

        let mut command = Command::new(binary);
        command.arg("-c").arg(&config);
        command.arg("--admin-address-path").arg(&admin);
        command.arg("--log-path").arg(&log);
        command.args(["--use-dynamic-base-id", "--concurrency", "1"]);
        let mut process = Process::spawn(command.stdout(stdio("stdout")).stderr(stdio("stderr")));

        let mut started = |what: &str, probe: &dyn Fn() -> Option<SocketAddr>| {
            wait_for(what, START, || {
                if let Some(status) = process.ended() {
                    let text = |name: &str| fs::read_to_string(in_folder(name)).unwrap_or_default();
                    panic!(
                        "Envoy ended with {status}:\n{}{}",
                        text("stderr"),
                        text("envoy.log")
                    );
                }
                probe()
            })
        };
        let admin = started("Envoy's admin address", &|| {
            fs::read_to_string(&admin).ok()?.trim().parse().ok()
        });
        let listener = started("Envoy's listener", &|| listener(admin));
        Self {
            listener,
            _process: process,
            folder,
        }
    }

    /// Tells it other Latchkeys, as the control plane of Istio does when Kubernetes says that a pod is not ready.
    pub(crate) fn move_to(&self, latchkeys: &[SocketAddr]) {
        write_endpoints(self.folder.path(), latchkeys);
    }

    /// What `envoy --mode validate` says of a shape.
    pub(crate) fn validate(shape: Shape) -> Finished {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = folder.path().join("envoy.yaml");
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        write_endpoints(folder.path(), &[address]);
        fs::write(
            &config,
            configuration(shape, folder.path(), &[address], address, &[]),
        )
        .expect("the configuration can be written");
        run(Command::new(binary())
            .args(["--mode", "validate", "-c"])
            .arg(config))
    }
}

/// The Envoy of `scripts/install.sh`, or the one that `ENVOY_BINARY` names, from the root of the repository.
fn binary() -> PathBuf {
    let chosen = std::env::var("ENVOY_BINARY").unwrap_or_else(|_| BINARY.to_owned());
    let binary = in_repository(&chosen);
    assert!(binary.exists(), "{chosen} is not there: run scripts/install.sh");
    binary
}

/// The endpoints of Latchkey as a file that Envoy watches. It sees a file that is moved to its place.
fn write_endpoints(folder: &Path, latchkeys: &[SocketAddr]) {
    let endpoint = |address: &SocketAddr| {
        let address = json!({"address": address.ip(), "port_value": address.port()});
        json!({"endpoint": {"address": {"socket_address": address}}})
    };
    let endpoints: Vec<Value> = latchkeys.iter().map(endpoint).collect();
    let resource = json!({
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": "latchkey",
        "endpoints": [{"lb_endpoints": endpoints}],
    });
    let (new, place) = (folder.join("endpoints.new"), folder.join("endpoints.json"));
    fs::write(&new, json!({"resources": [resource]}).to_string()).expect("the endpoints can be written");
    fs::rename(new, place).expect("the endpoints can be moved");
}

/// The listener's address, once Envoy is live: its health checks have seen every Latchkey by then.
fn listener(admin: SocketAddr) -> Option<SocketAddr> {
    let mut client = Client::new(admin);
    let ready = client.try_request("GET", "/ready", &[]).ok()?;
    if ready.status != 200 {
        return None;
    }
    let listeners = client.try_request("GET", "/listeners?format=json", &[]).ok()?;
    let listeners: Value = serde_json::from_str(&listeners.body).ok()?;
    let address = &listeners["listener_statuses"][0]["local_address"]["socket_address"];
    let port = u16::try_from(address["port_value"].as_u64()?).ok()?;
    Some(SocketAddr::from(([127, 0, 0, 1], port)))
}

/// The configuration of a shape, ready to run.
fn configuration(
    shape: Shape,
    folder: &Path,
    latchkeys: &[SocketAddr],
    backend: SocketAddr,
    replaced: &[(&str, &str)],
) -> String {
    let file = shape.file();
    let mut config = fs::read_to_string(in_repository(file)).expect(file);
    if config.contains(ENDPOINTS) {
        let path = folder.join("endpoints.json");
        config = replace_once(&config, ENDPOINTS, &format!("path: {}", path.display()));
    }
    configure(config, latchkeys, backend, replaced)
}

fn configure(
    mut config: String,
    latchkeys: &[SocketAddr],
    backend: SocketAddr,
    replaced: &[(&str, &str)],
) -> String {
    for port in ["10000", "9901"] {
        config = replace_once(&config, &port_value(port), "port_value: 0");
    }
    let backend = port_value(&backend.port().to_string());
    config = replace_once(&config, &port_value("8080"), &backend);
    if config.contains(LATCHKEY) {
        assert_eq!(config.matches(LATCHKEY).count(), 1, "{LATCHKEY}");
        let endpoint = endpoint(&config).to_owned();
        let (separator, indent) = separator(&config, &endpoint);
        let endpoints: Vec<String> = latchkeys
            .iter()
            .map(|address| endpoint.replace(LATCHKEY, &port_value(&address.port().to_string())))
            .collect();
        config = config.replace(&endpoint, &endpoints.join(&format!("{separator}{indent}")));
    }
    for (from, to) in replaced {
        config = replace_once(&config, from, to);
    }
    config
}

fn port_value(port: &str) -> String {
    format!("port_value: {port}")
}

/// `from` must be there once; a longer number that begins like it does not count.
fn replace_once(config: &str, from: &str, to: &str) -> String {
    let continues = |end: usize| config[end..].starts_with(|next: char| next.is_ascii_digit());
    let found: Vec<usize> = config.match_indices(from).map(|(at, _)| at).collect();
    let whole: Vec<usize> = found
        .into_iter()
        .filter(|at| !continues(at + from.len()))
        .collect();
    let [at] = whole[..] else {
        panic!("{from} is {} times in the configuration", whole.len());
    };
    format!("{}{to}{}", &config[..at], &config[at + from.len()..])
}

/// The text of Latchkey's endpoint: `{endpoint: …}` in flow style, or the list entry in block style.
fn endpoint(config: &str) -> &str {
    let port = config.find(LATCHKEY).expect("checked before");
    let start = config[..port].rfind("endpoint:").expect("an endpoint");
    if config[..start].ends_with('{') {
        let start = start - 1;
        let mut depth = 0;
        for (at, character) in config[start..].char_indices() {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return &config[start..=start + at];
            }
        }
        panic!("unbalanced braces");
    }
    let line = config[..start].rfind('\n').map_or(0, |at| at + 1);
    let indent = indent(&config[line..]);
    let dash = line + indent;
    assert!(config[dash..].starts_with('-'), "an endpoint in a list");
    let mut end = dash;
    for text in config[dash..].split_inclusive('\n') {
        let is_first = end == dash;
        if !is_first && self::indent(text) <= indent {
            break;
        }
        end += text.len();
    }
    config[dash..end].trim_end()
}

/// What stands between two endpoints, and the indent of the second.
fn separator<'c>(config: &'c str, endpoint: &str) -> (&'static str, &'c str) {
    if endpoint.starts_with('{') {
        let start = config.find(endpoint).expect("it was cut out of there");
        let before = &config[..start];
        let line = before.rfind('\n').map_or(0, |at| at + 1);
        // `- {endpoint: …}` is an entry of a list in block style.
        return match before[line..].trim() {
            "-" => ("\n", &before[line..]),
            _ => (", ", ""),
        };
    }
    let start = config.find(endpoint).expect("it was cut out of there");
    let line = config[..start].rfind('\n').map_or(0, |at| at + 1);
    ("\n", &config[line..start])
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_endpoint_is_put_beside_the_first() {
        let flow = "lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 9191}}}}]\n";
        let listed = "x:\n- lb_endpoints:\n  - {endpoint: {address: {port_value: 9191}}}\ny: 1\n";
        let block = "x:\n  - endpoint:\n      address:\n        port_value: 9191\ny: 1\n";
        let ports = "port_value: 10000\nport_value: 9901\nport_value: 8080\n";
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        for (shipped, expected) in [
            (
                flow,
                "lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}}, \
                 {endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 2}}}}]\n",
            ),
            (
                listed,
                "x:\n- lb_endpoints:\n  - {endpoint: {address: {port_value: 1}}}\n  \
                 - {endpoint: {address: {port_value: 2}}}\ny: 1\n",
            ),
            (
                block,
                "x:\n  - endpoint:\n      address:\n        port_value: 1\n  - endpoint:\n      address:\n        \
                 port_value: 2\ny: 1\n",
            ),
        ] {
            let made = configure(
                format!("{shipped}{ports}"),
                &[address(1), address(2)],
                address(3),
                &[],
            );
            let ports = "port_value: 0\nport_value: 0\nport_value: 3\n";
            assert_eq!(made, format!("{expected}{ports}"));
        }
    }
}
