//! The arguments of `latchkey keys`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use ipnet::IpNet;

/// What `latchkey keys` can do.
#[derive(Subcommand, Debug)]
pub(in crate::cli) enum KeysCommand {
    /// Make a key; its secret is shown once
    Create(CreateArgs),
    /// Take in a key that was made elsewhere; only the SHA-256 of its secret is sent and stored
    Import(ImportArgs),
    /// List keys, the newest first
    List(ListArgs),
    /// Show one key
    Show(OneArgs),
    /// Say what is known of a key, given its secret; exits with 0 for valid and 3 for not
    Verify(VerifyArgs),
    /// Give a key another secret, which is shown once
    Rotate(RotateArgs),
    /// Change name, expiry, networks, limit or metadata of a key
    Update(UpdateArgs),
    /// Revoke a key for ever
    Revoke(OneArgs),
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Common {
    /// Work directly on the store of this configuration; without it and --url, LATCHKEY_URL, LATCHKEY_CONFIG or the embedded defaults
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Work over HTTP with the server at this URL, such as https://latchkey.example.com
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    pub(super) url: Option<String>,
    /// File with the management token to show there; without it LATCHKEY_TOKEN_FILE, or the token itself in LATCHKEY_TOKEN
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub(super) token_file: Option<PathBuf>,
    /// File with the authorities that the server's certificate is verified against, in place of those of the system
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub(super) ca_file: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub(super) output: Output,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Debug)]
pub(in crate::cli) enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct NewKeyArgs {
    /// For people; need not be unique
    #[arg(long)]
    pub(super) name: String,
    /// Id of the API that the key is for
    #[arg(long)]
    pub(super) api: String,
    /// What the key may do, by name or id; may be given more than once, or as a list with commas
    #[arg(long = "scope", value_delimiter = ',')]
    pub(super) scopes: Vec<String>,
    /// organization, user or environment; without it user if there is one, else organization
    #[arg(long = "type", value_name = "TYPE")]
    pub(super) key_type: Option<String>,
    /// The organization that owns it
    #[arg(long, value_name = "ORG_CODE", required_unless_present_any = ["user", "key_type"])]
    pub(super) org: Option<String>,
    /// The user who owns it
    #[arg(long, value_name = "USER_ID")]
    pub(super) user: Option<String>,
    /// How long it is valid, such as 90d; for ever without
    #[arg(long, value_parser = humantime::parse_duration)]
    pub(super) expires: Option<Duration>,
    /// A network that it may be used from, such as 192.0.2.0/24; may be given more than once
    #[arg(long = "allow-network", value_name = "CIDR")]
    pub(super) networks: Vec<IpNet>,
    /// A limit of its own in place of those of the routes, such as 100/15m
    #[arg(long, value_name = "LIMIT/WINDOW")]
    pub(super) rate_limit: Option<String>,
    /// Whatever you want to remember, as a JSON object
    #[arg(long, value_name = "JSON")]
    pub(super) metadata: Option<String>,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct CreateArgs {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    pub(super) key: NewKeyArgs,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct ImportArgs {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    pub(super) key: NewKeyArgs,
    /// File with the secret (- is standard input), which stays here; without it LATCHKEY_KEY
    #[arg(long, value_name = "FILE", conflicts_with = "digest")]
    pub(super) key_file: Option<PathBuf>,
    /// SHA-256 of the secret in 64 hexadecimal digits, where the secret is not at hand
    #[arg(long, value_name = "HEX", requires = "key_prefix")]
    pub(super) digest: Option<String>,
    /// The first 3 to 16 characters of the secret; all imported keys of one kind should have one
    #[arg(long, value_name = "TEXT")]
    pub(super) key_prefix: Option<String>,
    /// The last four characters of the secret
    #[arg(long, value_name = "TEXT")]
    pub(super) key_suffix: Option<String>,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// How many at the most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(super) limit: u32,
    /// Only keys that come after the one with this id
    #[arg(long, value_name = "ID")]
    pub(super) after: Option<String>,
    /// Only organization, user or environment keys
    #[arg(long = "type", value_name = "TYPE")]
    pub(super) key_type: Option<String>,
    /// Only active, inactive or revoked ones
    #[arg(long)]
    pub(super) status: Option<String>,
    /// Only those of this organization
    #[arg(long, value_name = "ORG_CODE")]
    pub(super) org: Option<String>,
    /// Only those of this user
    #[arg(long, value_name = "USER_ID")]
    pub(super) user: Option<String>,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct OneArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// Id of the key, such as api_key_…
    pub(super) id: String,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct VerifyArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// File with the secret (- is standard input); without it LATCHKEY_KEY
    #[arg(long, value_name = "FILE")]
    pub(super) key_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct RotateArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// Id of the key, such as api_key_…
    pub(super) id: String,
    /// How long the old secret still works, such as 24h; not at all without
    #[arg(long, value_parser = humantime::parse_duration)]
    pub(super) grace: Option<Duration>,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct UpdateArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// Id of the key, such as api_key_…
    pub(super) id: String,
    /// Another name
    #[arg(long)]
    pub(super) name: Option<String>,
    /// How long it is valid from now on, such as 90d, or never
    #[arg(long, value_name = "DURATION")]
    pub(super) expires: Option<String>,
    /// All the networks that it may be used from; may be given more than once
    #[arg(long = "allow-network", value_name = "CIDR")]
    pub(super) networks: Vec<IpNet>,
    /// Let it be used from anywhere
    #[arg(long, conflicts_with = "networks")]
    pub(super) any_network: bool,
    /// A limit of its own, such as 100/15m, or none
    #[arg(long, value_name = "LIMIT/WINDOW")]
    pub(super) rate_limit: Option<String>,
    /// All of its metadata, as a JSON object
    #[arg(long, value_name = "JSON")]
    pub(super) metadata: Option<String>,
}
