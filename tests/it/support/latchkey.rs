//! The `latchkey` binary: a server, and the commands beside it.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::client::Client;
use super::process::{Finished, Process, run};
use super::{START, wait_for};

/// Failed authentications that one address has.
pub(crate) const UNAUTHENTICATED: usize = 50;
/// Requests that one key has on `/ai/chat`.
pub(crate) const CHATS: usize = 5;

const CONFIG: &str = r"
listen: {grpc: '127.0.0.1:0', http: '127.0.0.1:0', ops: '127.0.0.1:0'}
store: sqlite://FOLDER/latchkey.db
drain: {settle: 3s, grace: 5s}
apis:
  - id: api_ai
    name: AI
    audience: https://api.example.com
    scopes: [read:ai_chats, write:ai_chat, read:ai_analytics, write:ai_analytics]
  - {id: api_other, name: Other, audience: https://other.example.com, scopes: [read:other]}
routes:
  - {name: health, path: /healthz, public: true}
  - {name: support, methods: [POST], path: /ai/support, api: api_ai, scopes: [read:ai_chats]}
  - {name: chat, methods: [POST], path: /ai/chat, api: api_ai, scopes: [write:ai_chat], rate_limit: small}
  - {name: analytics, methods: [GET], path: /ai/analytics, api: api_ai, scopes: [read:ai_analytics]}
  - {name: other, methods: [GET], path: /other, api: api_other, scopes: [read:other]}
rate_limits:
  small: {limit: 5, window: 15m, per: key, error: Too many chats, code: CHATS_LIMITED}
  unauthenticated: {limit: 50, window: 15m, per: address, error: Too many bad keys, code: BAD_KEYS_LIMITED}
telemetry: {log: {format: json, level: trace}}
";

/// A folder with a configuration and a store, for any number of servers.
pub(crate) struct Home {
    folder: TempDir,
}

/// A created key.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) key: String,
}

impl Key {
    /// The value of its `authorization` header.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.key)
    }
}

impl Home {
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// With texts of the configuration replaced; each must be there.
    pub(crate) fn with(replaced: &[(&str, &str)]) -> Self {
        let mut config = CONFIG.to_owned();
        for (from, to) in replaced {
            assert!(config.contains(from), "{from} is not in the configuration");
            config = config.replace(from, to);
        }
        Self::of(&config)
    }

    /// With a configuration of its own, in which `FOLDER` stands for its folder.
    pub(crate) fn of(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Self { folder };
        let config = config.replace("FOLDER", &home.path().to_string_lossy());
        fs::write(home.config(), config).expect("the configuration can be written");
        home
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path().join("latchkey.yaml")
    }

    /// Starts a server and waits until it serves. `name` tells it from others of this home.
    pub(crate) fn start(&self, name: &str) -> Latchkey {
        self.start_with(name, &[])
    }

    /// The same with variables in its environment, which is empty otherwise.
    pub(crate) fn start_with(&self, name: &str, environment: &[(&str, &str)]) -> Latchkey {
        let (addresses, log) = (
            self.path().join(format!("{name}.addresses")),
            self.path().join(format!("{name}.log")),
        );
        let stderr = File::create(&log).expect("the log can be created");
        let stdout = stderr.try_clone().expect("a file can be shared");
        let mut command = self.command("serve");
        command.arg("--addresses-file").arg(&addresses);
        command.envs(environment.iter().copied());
        let mut process = Process::spawn(command.stdout(stdout).stderr(stderr));
        let bound = wait_for("the addresses of latchkey", START, || {
            if let Some(status) = process.ended() {
                panic!(
                    "latchkey ended with {status}:\n{}",
                    fs::read_to_string(&log).unwrap_or_default()
                );
            }
            serde_json::from_slice::<Value>(&fs::read(&addresses).ok()?).ok()
        });
        let address = |name: &str| bound[name].as_str().and_then(|text| text.parse().ok());
        Latchkey {
            process,
            grpc: address("grpc").expect("a gRPC address"),
            http: address("http").expect("an HTTP address"),
            ops: address("ops").expect("an ops address"),
            log,
        }
    }

    /// `latchkey keys create` with `args` for name, API, scopes and owner.
    pub(crate) fn create_key(&self, args: &[&str]) -> Key {
        let mut command = self.command("keys create");
        let created = run(command.args(["--name", "test", "--output", "json"]).args(args)).output();
        let created: Value = serde_json::from_str(&created).expect("keys create prints JSON");
        let text = |name: &str| created[name].as_str().expect("id and key").to_owned();
        Key {
            id: text("id"),
            key: text("key"),
        }
    }

    /// A key of the API `api_ai`.
    pub(crate) fn ai_key(&self, scopes: &[&str], owner: &[&str]) -> Key {
        let scopes = scopes.iter().flat_map(|scope| ["--scope", scope]);
        let args: Vec<&str> = ["--api", "api_ai"]
            .into_iter()
            .chain(scopes)
            .chain(owner.iter().copied())
            .collect();
        self.create_key(&args)
    }

    /// A key of an organization that may read and write chats.
    pub(crate) fn chat_key(&self) -> Key {
        self.ai_key(&["read:ai_chats", "write:ai_chat"], &["--org", "org_acme"])
    }

    /// `latchkey keys revoke` beside whatever server is running.
    pub(crate) fn revoke(&self, key: &Key) {
        run(self.command("keys revoke").arg(&key.id)).output();
    }

    /// The management token that the first start of a server has made.
    pub(crate) fn token(&self) -> String {
        let token = fs::read_to_string(self.token_file()).expect("a server has made a token");
        token.trim().to_owned()
    }

    pub(crate) fn token_file(&self) -> PathBuf {
        self.path().join("latchkey.db.management-token")
    }

    /// `latchkey keys …` over HTTP with a running server.
    pub(crate) fn keys_over_http(&self, latchkey: &Latchkey, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_latchkey"));
        command.env_clear().arg("keys").args(words.split(' '));
        command.args(["--url", &format!("http://{}", latchkey.http), "--token-file"]);
        command.arg(self.token_file()).current_dir(self.path());
        command
    }

    /// `latchkey serve`, which is expected to end by itself.
    pub(crate) fn serve_in_vain(&self) -> Finished {
        run(&mut self.command("serve"))
    }

    /// The words of a command, and this home's configuration.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_latchkey"));
        // The environment of whoever runs the tests configures nothing.
        command
            .env_clear()
            .args(words.split(' '))
            .arg("-c")
            .arg(self.config());
        command.current_dir(self.path());
        command
    }
}

/// A running server.
pub(crate) struct Latchkey {
    pub(crate) process: Process,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) ops: SocketAddr,
    log: PathBuf,
}

impl Latchkey {
    /// The value of a metric, with its labels as `/metrics` writes them; 0 if it is not there.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let metrics = Client::new(self.ops).get("/metrics", &[]).body;
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
        metrics.lines().find_map(value).unwrap_or(0.0)
    }

    /// The events that were logged so far, as JSON.
    pub(crate) fn logged(&self) -> Vec<Value> {
        let lines = fs::read_to_string(&self.log).unwrap_or_default();
        lines
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}
