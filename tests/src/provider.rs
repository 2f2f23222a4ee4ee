//! An identity provider: keys that sign tokens, and the server that publishes them, which counts its
//! requests and can fail.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
        RsaKeyPair,
    },
};
use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    serve::Listener,
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto, pki_types::PrivatePkcs8KeyDer},
    server::TlsStream,
};

/// A key that signs tokens with any header and payload. It shares no code with the verification.
pub enum SigningKey {
    /// RS256.
    Rsa(Box<RsaKeyPair>),
    /// ES256.
    Ec(Box<EcdsaKeyPair>),
    /// `EdDSA`.
    Ed(Ed25519KeyPair),
    /// HS256.
    Secret(Vec<u8>),
}

impl SigningKey {
    /// A new key of 2,048 bits.
    #[must_use]
    pub fn rsa() -> Self {
        Self::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key")))
    }

    /// A new key on P-256.
    #[must_use]
    pub fn ec() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        Self::Ec(Box::new(key.expect("a key")))
    }

    /// A new Ed25519 key.
    #[must_use]
    pub fn ed() -> Self {
        Self::Ed(Ed25519KeyPair::generate().expect("a key"))
    }

    /// A secret.
    #[must_use]
    pub fn secret(secret: impl AsRef<[u8]>) -> Self {
        Self::Secret(secret.as_ref().to_vec())
    }

    /// The name of its algorithm in tokens.
    #[must_use]
    pub const fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec(_) => "ES256",
            Self::Ed(_) => "EdDSA",
            Self::Secret(_) => "HS256",
        }
    }

    /// Its public half as a JSON Web Key; for a secret, the secret itself, which a provider must not
    /// publish.
    #[must_use]
    pub fn jwk(&self, kid: &str) -> Value {
        let base64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut key = match self {
            Self::Rsa(key) => {
                let modulus = key.public_key().modulus();
                let exponent = key.public_key().exponent();
                json!({
                    "kty": "RSA",
                    "n": base64(modulus.big_endian_without_leading_zero()),
                    "e": base64(exponent.big_endian_without_leading_zero()),
                })
            }
            Self::Ec(key) => {
                // SEC 1, 2.3.3: 04, x, y.
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "x": base64(x), "y": base64(y) })
            }
            Self::Ed(key) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": base64(key.public_key().as_ref()) })
            }
            Self::Secret(secret) => json!({ "kty": "oct", "k": base64(secret) }),
        };
        for (name, value) in [("kid", kid), ("use", "sig"), ("alg", self.algorithm())] {
            key[name] = json!(value);
        }
        key
    }

    /// The public half of an RSA key as DER and as PEM, which must never be accepted as a secret.
    ///
    /// # Panics
    /// If it is another key.
    #[must_use]
    pub fn public_forms(&self) -> [Vec<u8>; 4] {
        let Self::Rsa(key) = self else { panic!("no RSA key") };
        let der: PublicKeyX509Der<'_> = key.public_key().as_der().expect("DER");
        let lines: Vec<String> = STANDARD
            .encode(der.as_ref())
            .as_bytes()
            .chunks(64)
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect();
        let pem =
            format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", lines.join("\n"));
        let modulus = key.public_key().modulus().big_endian_without_leading_zero();
        [der.as_ref().to_vec(), format!("{pem}\n").into_bytes(), pem.into_bytes(), modulus.to_vec()]
    }

    /// A token with this header and payload, both unchanged.
    #[must_use]
    pub fn sign_text(&self, header: &str, payload: &str) -> String {
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let bytes = signed.as_bytes();
        let random = SystemRandom::new();
        let signature = match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, bytes, &mut signature).expect("a signature");
                signature
            }
            Self::Ec(key) => key.sign(&random, bytes).expect("a signature").as_ref().to_vec(),
            Self::Ed(key) => key.sign(bytes).as_ref().to_vec(),
            Self::Secret(secret) => {
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), bytes).as_ref().to_vec()
            }
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A token with these claims and this `kid`.
    #[must_use]
    pub fn sign(&self, kid: &str, claims: &Value) -> String {
        let header = json!({ "alg": self.algorithm(), "typ": "JWT", "kid": kid });
        self.sign_text(&header.to_string(), &claims.to_string())
    }
}

/// An answer of the server.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A body with a status.
    Body(u16, String),
    /// A redirect.
    Redirect(String),
    /// No answer.
    Silence,
}

impl Reply {
    /// A set of these keys.
    #[must_use]
    pub fn keys(keys: &[Value]) -> Self {
        Self::Body(200, json!({ "keys": keys }).to_string())
    }
}

/// A server on loopback that publishes keys.
#[derive(Clone)]
pub struct Provider {
    /// The address of its keys.
    pub url: String,
    desk: Arc<Desk>,
}

struct Desk {
    reply: Mutex<Reply>,
    asked: AtomicUsize,
}

impl Provider {
    /// Starts a server that answers `reply`.
    pub async fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let url = format!("http://{}/jwks.json", listener.local_addr().expect("an address"));
        Self::serve(listener, url, reply)
    }

    /// Starts a server that answers `reply` over HTTPS; also returns its certificate as PEM.
    pub async fn start_https(reply: Reply) -> (Self, String) {
        let tcp = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = tcp.local_addr().expect("an address").port();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let made = made.expect("a certificate");
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .expect("a certificate");
        let listener = Tls { tcp, acceptor: TlsAcceptor::from(Arc::new(config)) };
        let url = format!("https://localhost:{port}/jwks.json");
        (Self::serve(listener, url, reply), made.cert.pem())
    }

    fn serve<L: Listener<Addr = SocketAddr>>(listener: L, url: String, reply: Reply) -> Self {
        let desk = Arc::new(Desk { reply: Mutex::new(reply), asked: AtomicUsize::new(0) });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&desk));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, desk }
    }

    /// Changes its answer to `reply`.
    pub fn say(&self, reply: Reply) {
        *self.desk.reply.lock().unwrap_or_else(PoisonError::into_inner) = reply;
    }

    /// The number of its requests.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.desk.asked.load(Ordering::SeqCst)
    }
}

/// TLS on each connection.
struct Tls {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.tcp).await;
            // A client that does not trust the certificate disconnects.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

async fn answer(State(desk): State<Arc<Desk>>) -> Response {
    desk.asked.fetch_add(1, Ordering::SeqCst);
    let reply = desk.reply.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match reply {
        Reply::Body(status, body) => {
            let status = axum::http::StatusCode::from_u16(status).expect("a status");
            (status, body).into_response()
        }
        Reply::Redirect(to) => axum::response::Redirect::temporary(&to).into_response(),
        Reply::Silence => std::future::pending().await,
    }
}
