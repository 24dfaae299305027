//! Who may use the key API.

use super::super::reader::{Fields, Reader, did_you_mean, quoted};
use super::super::settings::{
    ALL_PERMISSIONS, ClientSecret, Management, ManagementClient, ManagementJwt, ManagementToken, VerifyAccess,
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
    let tokens = optional(fields.get("tokens"), |node| tokens(reader, node));
    let clients = optional(fields.get("clients"), |node| clients(reader, node));
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

/// Most tokens, and most clients.
const MOST: usize = 1000;

fn tokens(reader: &mut Reader, node: &Node) -> Option<Vec<ManagementToken>> {
    let items = reader.list(node, "tokens", MOST)?;
    let mut seen = Vec::new();
    all(items.iter().map(|item| {
        let fields = reader.fields(item, "token", &["name", "token_file", "permissions"])?;
        let name = fields
            .require(reader, "name")
            .and_then(|node| unique_name(reader, node, "token", &mut seen));
        let token_file = fields
            .require(reader, "token_file")
            .and_then(|node| reader.path(node));
        let permissions = permissions(reader, &fields);
        Some(ManagementToken {
            name: name?,
            token_file: token_file?,
            permissions: permissions?,
        })
    }))
}

fn clients(reader: &mut Reader, node: &Node) -> Option<Vec<ManagementClient>> {
    let items = reader.list(node, "clients", MOST)?;
    let mut seen = Vec::new();
    all(items.iter().map(|item| {
        let fields = reader.fields(
            item,
            "client",
            &["id", "secret_file", "secret_sha256", "permissions"],
        )?;
        let id = fields
            .require(reader, "id")
            .and_then(|node| unique_name(reader, node, "client", &mut seen));
        let secret = client_secret(reader, &fields);
        let permissions = permissions(reader, &fields);
        Some(ManagementClient {
            id: id?,
            secret: secret?,
            permissions: permissions?,
        })
    }))
}

fn client_secret(reader: &mut Reader, fields: &Fields<'_>) -> Option<ClientSecret> {
    match (fields.get("secret_file"), fields.get("secret_sha256")) {
        (Some(file), None) => reader.path(file).map(ClientSecret::File),
        (None, Some(digest)) => {
            let text = reader.text(digest)?;
            let read = sha256(text).map(ClientSecret::Sha256);
            if read.is_none() {
                // Not what was found: it may be the secret itself.
                reader.mistake(&digest.place, "a SHA-256 digest is 64 hex digits");
            }
            read
        }
        (Some(_), Some(digest)) => {
            reader.mistake(
                &digest.place,
                "a client has `secret_file` or `secret_sha256`, not both",
            );
            None
        }
        (None, None) => {
            reader.mistake(
                fields.place(),
                "missing field `secret_file` (or `secret_sha256`) in client",
            );
            None
        }
    }
}

fn sha256(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes: Option<Vec<u8>> = pairs
        .iter()
        .map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?))
        .collect();
    bytes?.try_into().ok().filter(|_| rest.is_empty())
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
    let known = |permission: &str| ALL_PERMISSIONS.contains(&permission);
    all(items.iter().map(|item| {
        let permission = reader.text(item)?;
        if !known(permission) {
            let hint = did_you_mean(permission, ALL_PERMISSIONS);
            reader.mistake(
                &item.place,
                format!("unknown permission {}{hint}", quoted(permission)),
            );
            return None;
        }
        Some(permission.into())
    }))
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
