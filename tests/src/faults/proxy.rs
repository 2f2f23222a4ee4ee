//! Proxy between a client and PostgreSQL: keeps one address while servers restart, loses answers, and
//! removes conditions from statements.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf},
    task::JoinSet,
};

/// A simple query, as sqlx commits (PostgreSQL, Message Formats).
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

/// A proxy on a port of loopback. Dropping it cuts every connection.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

struct Shared {
    target: Mutex<SocketAddr>,
    lose_commit: AtomicBool,
    unscope: bool,
    unscoped: Mutex<BTreeSet<String>>,
    prepared: Mutex<BTreeSet<Prepared>>,
}

/// A statement as a client prepared it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prepared {
    /// Its text.
    pub text: String,
    /// The role that its connection took at its start, if any.
    pub role: Option<String>,
    /// The OIDs of its parameters' types; 0 if the server decides.
    pub types: Vec<u32>,
}

impl Proxy {
    /// Connects each client to the server of `url`.
    pub async fn before(url: &str) -> Self {
        Self::new(url, false).await
    }

    /// Connects each client to the server of `url`, and removes the family from each statement.
    pub async fn unscoping(url: &str) -> Self {
        Self::new(url, true).await
    }

    async fn new(url: &str, unscope: bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let target = Mutex::new(address_of(url));
        let shared = Arc::new(Shared {
            target,
            lose_commit: AtomicBool::new(false),
            unscope,
            unscoped: Mutex::default(),
            prepared: Mutex::default(),
        });
        let mut server = JoinSet::new();
        server.spawn(serve(listener, Arc::clone(&shared)));
        Self { address, shared, _server: server }
    }

    /// `url` with this proxy in place of the server.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        url.replacen(&address_of(url).to_string(), &self.address.to_string(), 1)
    }

    /// The original text of the statements that lost their family.
    #[must_use]
    pub fn unscoped(&self) -> BTreeSet<String> {
        self.shared.unscoped.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The original text of the statements that were prepared through this proxy.
    #[must_use]
    pub fn prepared(&self) -> BTreeSet<Prepared> {
        self.shared.prepared.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Connects new clients to the server of `url` from now on.
    pub(super) fn point_at(&self, url: &str) {
        *self.shared.target.lock().unwrap_or_else(PoisonError::into_inner) = address_of(url);
    }

    /// Loses the answer of the next `COMMIT`: the connection ends first.
    pub(super) fn lose_next_commit(&self) {
        self.shared.lose_commit.store(true, Ordering::SeqCst);
    }

    /// Whether the answer of a `COMMIT` is still to be lost.
    pub(super) fn waits_for_commit(&self) -> bool {
        self.shared.lose_commit.load(Ordering::SeqCst)
    }
}

/// The host and port of a database's URL.
fn address_of(url: &str) -> SocketAddr {
    let host = url.rsplit_once('@').map_or(url, |(_login, host)| host);
    let host = host.split('/').next().unwrap_or_default();
    host.parse().unwrap_or_else(|error| panic!("{host} is no address: {error}"))
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    let shared = Arc::clone(&shared);
                    // However a connection ends, both sides are closed.
                    connections.spawn(async move { relay(client, &shared).await.is_ok() });
                }
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn relay(client: TcpStream, shared: &Shared) -> io::Result<()> {
    let target = *shared.target.lock().unwrap_or_else(PoisonError::into_inner);
    let server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_says, mut to_client) = client.into_split();
    let (mut server_says, mut to_server) = server.into_split();
    let mut client_says = BufReader::new(client_says);
    let up = async {
        // The start-up message has no type before its length (PostgreSQL, Message Formats).
        let start_up = message(&mut client_says, 0).await?;
        to_server.write_all(&start_up).await?;
        let role = role_in(&start_up);
        loop {
            let message = message(&mut client_says, 1).await?;
            if message == COMMIT && shared.lose_commit.swap(false, Ordering::SeqCst) {
                return io::Result::Ok(message);
            }
            note(&message, role.as_deref(), shared);
            let message = if shared.unscope { unscope(message, shared) } else { message };
            to_server.write_all(&message).await?;
        }
    };
    let commit = tokio::select! {
        done = tokio::io::copy(&mut server_says, &mut to_client) => return done.map(drop),
        commit = up => commit?,
    };
    // From here on, the client receives nothing more.
    to_server.write_all(&commit).await?;
    // The answer means that the commit is done.
    server_says.read_u8().await?;
    Ok(())
}

/// The role in a start-up message's `options`, as sqlx writes it.
fn role_in(start_up: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(start_up);
    let (_, rest) = text.split_once("-c role=")?;
    rest.split(['\0', ' ']).next().map(ToOwned::to_owned)
}

/// Name, text and types of parameters of a statement to prepare (PostgreSQL, Message Formats,
/// `Parse`).
fn parse(message: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let body = message.strip_prefix(b"P")?.get(4..)?;
    let mut parts = body.splitn(3, |byte| *byte == 0);
    Some((parts.next()?, parts.next()?, parts.next()?))
}

fn note(message: &[u8], role: Option<&str>, shared: &Shared) {
    let Some((_, text, types)) = parse(message) else { return };
    // Their number, then four bytes each.
    let types = types.get(2..).unwrap_or_default().chunks_exact(4);
    let types = types.map(|oid| oid.try_into().map_or(0, u32::from_be_bytes)).collect();
    let text = String::from_utf8_lossy(text).into_owned();
    let prepared = Prepared { text, role: role.map(ToOwned::to_owned), types };
    shared.prepared.lock().unwrap_or_else(PoisonError::into_inner).insert(prepared);
}

/// A statement without its condition on the family: `family_id = $1` becomes true for every row. Joins
/// and inserted values stay.
fn unscope(message: Vec<u8>, shared: &Shared) -> Vec<u8> {
    let Some((name, text, types)) = parse(&message) else { return message };
    let text = String::from_utf8_lossy(text);
    let without = without_scope(&text);
    if without == text {
        return message;
    }
    shared.unscoped.lock().unwrap_or_else(PoisonError::into_inner).insert(text.into_owned());
    let body = [name, b"\0", without.as_bytes(), b"\0", types].concat();
    let length = u32::try_from(body.len() + 4).expect("a statement's length");
    [b"P", length.to_be_bytes().as_slice(), &body].concat()
}

fn without_scope(text: &str) -> String {
    const SCOPE: &str = "family_id = $";
    let (mut without, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(SCOPE) {
        // With its table's alias, such as `tm.`.
        let before = rest[..at].trim_end_matches(|c: char| c.is_alphanumeric() || "_.".contains(c));
        let number = &rest[at + SCOPE.len()..];
        let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
        without.push_str(before);
        // Still uses the parameter, with the same type.
        without.extend(["$", &number[..end], "::text IS NOT NULL"]);
        rest = &number[end..];
    }
    without.push_str(rest);
    without
}

/// One message of a client. Its length follows `kind` bytes, and counts itself.
async fn message(from: &mut BufReader<OwnedReadHalf>, kind: usize) -> io::Result<Vec<u8>> {
    let mut message = vec![0; kind + 4];
    from.read_exact(&mut message).await?;
    let (_, length) = message.split_at(kind);
    let length = length.try_into().map_or(0, u32::from_be_bytes);
    let rest = usize::try_from(length).unwrap_or_default().saturating_sub(4);
    message.resize(kind + 4 + rest, 0);
    from.read_exact(&mut message[kind + 4..]).await?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_family_condition_is_removed() {
        let scoped = "SELECT a.family_id FROM a JOIN b ON a.family_id = b.family_id \
                      WHERE a.family_id = $1 AND b.id = $12 OR (family_id = $12)";
        let without = "SELECT a.family_id FROM a JOIN b ON a.family_id = b.family_id \
                       WHERE $1::text IS NOT NULL AND b.id = $12 OR ($12::text IS NOT NULL)";
        assert_eq!(without_scope(scoped), without);
    }

    #[tokio::test]
    async fn a_url_keeps_all_but_its_address() {
        let url = "postgres://user:p@ss@127.0.0.1:5433/db?a=b";
        let proxy = Proxy::before(url).await;
        let through = proxy.url(url);
        assert_eq!(through, format!("postgres://user:p@ss@{}/db?a=b", proxy.address));
        assert_eq!(address_of(&through), proxy.address);
    }
}
