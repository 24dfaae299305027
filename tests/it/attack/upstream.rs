//! The upstream behind Envoy: keeps what arrives as bytes, and judges it on the spot, as upstreams of three styles would read it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::readings::{self, Needs, STYLES, Style};

/// Names the sender of a request, whose key it carries.
pub(super) const SENDER: &str = "x-sender";
/// Names the row of the corpus, for the report.
pub(super) const ROW: &str = "x-row";

const TENANT_HEADERS: [&str; 5] = [
    "x-auth-key-id",
    "x-auth-org-code",
    "x-auth-user-id",
    "x-auth-scopes",
    "x-auth-context-owner",
];

/// What is known of a sender beforehand.
#[derive(Clone, Debug, Default)]
pub(super) struct Sender {
    pub(super) scopes: BTreeSet<&'static str>,
    /// The tenant headers of its key; empty without a key.
    pub(super) identity: BTreeMap<String, String>,
}

/// A request as it arrived. Trailers are among the headers, as some servers have them.
pub(super) struct Arrival {
    start_line: Vec<u8>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What the upstream takes for the same name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Separators {
    /// `-`, `_` and `.`, as WSGI, CGI and PHP have them.
    Usual,
    /// Whatever is no letter and no digit, as old servers have it.
    Any,
}

/// Ends with its value.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    senders: Mutex<Arc<BTreeMap<String, Sender>>>,
    separators: Separators,
    arrivals: AtomicUsize,
    last_identity: Mutex<BTreeMap<String, String>>,
    bypasses: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl Upstream {
    pub(super) fn start(separators: Separators) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let shared = Arc::new(Shared {
            senders: Mutex::default(),
            separators,
            arrivals: AtomicUsize::new(0),
            last_identity: Mutex::default(),
            bypasses: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let server = Arc::clone(&shared);
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                if server.stop.load(Ordering::Relaxed) {
                    return;
                }
                let server = Arc::clone(&server);
                thread::spawn(move || {
                    // A connection that breaks is Envoy's end of it.
                    let _ = server.serve(&connection);
                });
            }
        });
        Self { address, shared }
    }

    /// From now on requests are judged by what is known of these senders.
    pub(super) fn know(&self, senders: &BTreeMap<String, Sender>) {
        *self.shared.senders.lock().expect("no judge panics") = Arc::new(senders.clone());
    }

    pub(super) fn arrivals(&self) -> usize {
        self.shared.arrivals.load(Ordering::Relaxed)
    }

    /// The tenant headers of the last request.
    pub(super) fn last_identity(&self) -> BTreeMap<String, String> {
        self.shared.last_identity.lock().expect("no judge panics").clone()
    }

    pub(super) fn bypasses(&self) -> Vec<String> {
        self.shared.bypasses.lock().expect("no judge panics").clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Wakes `accept`.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, connection: &TcpStream) -> io::Result<()> {
        connection.set_nodelay(true)?;
        let mut reader = BufReader::new(connection);
        let mut writer = connection;
        while let Some(arrival) = read(&mut reader)? {
            let senders = Arc::clone(&self.senders.lock().expect("no judge panics"));
            *self.last_identity.lock().expect("no judge panics") =
                arrival.tenant_headers(self.separators).into_iter().collect();
            if !senders.is_empty() {
                self.arrivals.fetch_add(1, Ordering::Relaxed);
                let found = judge(&arrival, &senders, self.separators);
                if !found.is_empty() {
                    let mut bypasses = self.bypasses.lock().expect("no judge panics");
                    bypasses.extend(found.iter().map(|what| format!("{what}: {}", arrival.shown())));
                }
            }
            writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
        }
        Ok(())
    }
}

/// What is wrong about it that this request has arrived.
fn judge(arrival: &Arrival, senders: &BTreeMap<String, Sender>, separators: Separators) -> Vec<String> {
    let mut found = Vec::new();
    // A request of nobody, such as one that was smuggled, may reach what needs no key.
    let nobody = Sender::default();
    let sender = arrival
        .named(SENDER.as_bytes())
        .next()
        .and_then(|name| senders.get(std::str::from_utf8(name).ok()?))
        .unwrap_or(&nobody);

    for style in STYLES {
        for (method, host, target) in arrival.readings(style) {
            let needs = readings::needs(style, &method, &host, &target);
            if let Some(Needs::Scope(scope)) = needs
                && !sender.scopes.contains(scope)
            {
                found.push(format!(
                    "{style:?} upstream serves what needs {scope}, as {} {} of {}",
                    method.escape_ascii(),
                    target.escape_ascii(),
                    host.escape_ascii()
                ));
            }
        }
    }

    let told = arrival.tenant_headers(separators);
    let names: BTreeSet<&String> = told.iter().map(|(name, _)| name).collect();
    let identity: BTreeMap<String, String> = told.iter().cloned().collect();
    if names.len() != told.len() {
        found.push("a tenant header comes twice".to_owned());
    }
    if !identity.is_empty() && identity != sender.identity {
        found.push("a forged identity".to_owned());
    }
    for place in ["authorization", "x-api-key"] {
        if arrival
            .named(place.as_bytes())
            .any(|value| value.windows(3).any(|three| three == b"lk_"))
        {
            found.push(format!("a key in {place}"));
        }
    }
    found
}

impl Arrival {
    fn named<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let same = move |(other, _): &&(Vec<u8>, Vec<u8>)| {
            let plain = |byte: &u8| {
                if byte.is_ascii_alphanumeric() {
                    byte.to_ascii_lowercase()
                } else {
                    b'-'
                }
            };
            other.iter().map(plain).eq(name.iter().copied())
        };
        self.headers.iter().filter(same).map(|(_, value)| &value[..])
    }

    /// Tenant headers and trailers in any spelling, under their own names.
    fn tenant_headers(&self, separators: Separators) -> Vec<(String, String)> {
        let plain = |byte: u8| match (byte, separators) {
            (b'_' | b'.', _) => b'-',
            (_, Separators::Any) if !byte.is_ascii_alphanumeric() => b'-',
            _ => byte.to_ascii_lowercase(),
        };
        let folded = |name: &[u8]| -> Vec<u8> { name.iter().map(|&byte| plain(byte)).collect() };
        let tenant = |(name, value): &(Vec<u8>, Vec<u8>)| {
            let name = String::from_utf8(folded(name)).ok()?;
            TENANT_HEADERS
                .contains(&&*name)
                .then(|| (name, value.escape_ascii().to_string()))
        };
        self.headers.iter().filter_map(tenant).collect()
    }

    /// The methods, hosts and targets that an upstream of this style could take the request to be for.
    fn readings(&self, style: Style) -> Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> {
        let mut words = self.start_line.split(|&byte| byte == b' ');
        let method = words.next().unwrap_or_default().to_vec();
        let target = words.collect::<Vec<_>>();
        let target = target[..target.len().saturating_sub(1)].join(&b' ');
        let hosts: Vec<&[u8]> = self.named(b"host").collect();
        let one = |host: Option<&&[u8]>| vec![host.copied().unwrap_or_default().to_vec()];
        let (mut methods, mut targets) = (vec![method], vec![target]);
        let hosts = match style {
            Style::Strict => one(hosts.first()),
            Style::Decoding => one(hosts.last()),
            Style::Merging => {
                for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
                    methods.extend(self.named(name.as_bytes()).map(<[u8]>::to_vec));
                }
                for name in ["x-original-url", "x-rewrite-url"] {
                    targets.extend(self.named(name.as_bytes()).map(<[u8]>::to_vec));
                }
                let prefixed: Vec<Vec<u8>> = self
                    .named(b"x-forwarded-prefix")
                    .map(|prefix| [prefix, &targets[0]].concat())
                    .collect();
                targets.extend(prefixed);
                let forwarded = self.named(b"forwarded").flat_map(forwarded_hosts);
                let named = hosts.into_iter().chain(self.named(b"x-forwarded-host"));
                named
                    .flat_map(|hosts| hosts.split(|&byte| byte == b','))
                    .map(<[u8]>::to_vec)
                    .chain(forwarded)
                    .map(|host| plain_host(&host))
                    .collect()
            }
        };
        let mut all = Vec::new();
        for method in &methods {
            for host in &hosts {
                for target in &targets {
                    all.push((method.clone(), host.clone(), target.clone()));
                }
            }
        }
        all
    }

    fn shown(&self) -> String {
        let mut text = self.start_line.escape_ascii().to_string();
        for (name, value) in &self.headers {
            text += &format!(" | {}: {}", name.escape_ascii(), value.escape_ascii());
        }
        text
    }
}

/// The values of `host` in a `Forwarded` header (RFC 7239).
fn forwarded_hosts(value: &[u8]) -> Vec<Vec<u8>> {
    let lower = value.to_ascii_lowercase();
    let parts = lower.split(|byte| matches!(byte, b';' | b','));
    parts
        .filter_map(|part| part.trim_ascii().strip_prefix(b"host="))
        .map(|host| host.iter().copied().filter(|&byte| byte != b'"').collect())
        .collect()
}

/// A host in lower case without user, port and final dot.
fn plain_host(host: &[u8]) -> Vec<u8> {
    let host = host.trim_ascii().to_ascii_lowercase();
    let host = host.rsplit(|&byte| byte == b'@').next().unwrap_or_default();
    let host = host
        .split(|&byte| byte == b':' || byte == b'/')
        .next()
        .unwrap_or_default();
    host.strip_suffix(b".").unwrap_or(host).to_vec()
}

fn read(from: &mut impl BufRead) -> io::Result<Option<Arrival>> {
    let Some(start_line) = line(from)? else {
        return Ok(None);
    };
    let mut headers = Vec::new();
    fields(from, &mut headers)?;
    let value = |wanted: &[u8]| {
        let mut all = headers.iter();
        all.find(|(name, _): &&(Vec<u8>, Vec<u8>)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    };
    let is_chunked = value(b"transfer-encoding").is_some_and(|value| value.contains("chunked"));
    let length = value(b"content-length");
    if is_chunked {
        loop {
            let size = line(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let size = String::from_utf8_lossy(&size).into_owned();
            let size = u64::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16);
            let size = size.map_err(io::Error::other)?;
            if size == 0 {
                break;
            }
            io::copy(&mut from.take(size), &mut io::sink())?;
            line(from)?;
        }
        fields(from, &mut headers)?;
    } else if let Some(length) = length {
        let length = length.parse().map_err(io::Error::other)?;
        io::copy(&mut from.take(length), &mut io::sink())?;
    }
    Ok(Some(Arrival { start_line, headers }))
}

/// Header or trailer lines up to an empty one.
fn fields(from: &mut impl BufRead, to: &mut Vec<(Vec<u8>, Vec<u8>)>) -> io::Result<()> {
    loop {
        let line = line(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            return Ok(());
        }
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        to.push((line[..colon].to_vec(), value.trim_ascii().to_vec()));
    }
}

fn line(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    if from.take(256 * 1024).read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    while matches!(bytes.last(), Some(b'\r' | b'\n')) {
        bytes.pop();
    }
    Ok(Some(bytes))
}
