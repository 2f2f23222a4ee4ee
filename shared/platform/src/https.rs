//! The way out: HTTP/1.1, with TLS, for the AWS SDK's clients and for what is fetched.
//!
//! The SDK's own client speaks HTTP/2 as well, which none of these services needs (together 6 % of a
//! binary's code), and reads the system's certificates, which on Debian was half of a start.

use std::{
    env,
    error::Error as StdError,
    fmt,
    sync::{Arc, LazyLock},
    time::Duration,
};

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        connection::{CaptureSmithyConnection, ConnectionMetadata},
        http::{
            HttpConnector as SdkConnector, HttpConnectorFuture, SharedHttpClient,
            SharedHttpConnector, http_client_fn,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
    },
};
use aws_smithy_types::{body::SdkBody, retry::ErrorKind};
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{
        self, Client,
        connect::{CaptureConnection, HttpConnector, capture_connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_native_certs::load_native_certs;
use tokio::net::TcpStream;
use tower::{timeout::Timeout, util::BoxCloneSyncService};
use webpki_roots::TLS_SERVER_ROOTS;

/// What is spoken over every connection.
static TLS: LazyLock<ClientConfig> = LazyLock::new(|| {
    // Named: without a name, rustls panics as soon as another provider is linked too.
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let Ok(builder) = builder.with_safe_default_protocol_versions() else {
        unreachable!("the provider's own versions")
    };
    builder.with_root_certificates(roots()).with_no_client_auth()
});

/// Whom to trust: the certificates of `SSL_CERT_FILE` and `SSL_CERT_DIR`, where somebody has set them.
/// Else Mozilla's, as they are built in for the database's connections anyway: reading as many of a
/// system's took every start half a millisecond.
fn roots() -> RootCertStore {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    if !is_set("SSL_CERT_FILE") && !is_set("SSL_CERT_DIR") {
        return TLS_SERVER_ROOTS.iter().cloned().collect();
    }
    let mut roots = RootCertStore::empty();
    // What can't be parsed, of the hundred and more that a file may have, is no reason to trust none.
    let (trusted, _) = roots.add_parsable_certificates(load_native_certs().certs);
    if trusted == 0 {
        tracing::warn!(
            "SSL_CERT_FILE and SSL_CERT_DIR have no certificates: nothing can be reached by https"
        );
    }
    roots
}

/// Connects to `http` and `https` addresses.
pub(crate) fn connector() -> HttpsConnector<HttpConnector> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    // A request in two writes would wait for the first's acknowledgement.
    tcp.set_nodelay(true);
    HttpsConnectorBuilder::new()
        .with_tls_config(TLS.clone())
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp)
}

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// A client for the AWS SDK: `connect` is what a connection may take to stand, TLS included, and `idle`
/// is how long it is kept for the next call.
#[must_use]
pub fn sdk_client(connect: Duration, idle: Duration) -> SharedHttpClient {
    let connector = BoxCloneSyncService::new(Timeout::new(connector(), connect));
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(idle)
        .build(connector);
    let connector = SharedHttpConnector::new(Connector(client));
    http_client_fn(move |_, _| connector.clone())
}

/// [`Client`] as the SDK calls it.
struct Connector(Client<BoxCloneSyncService<Uri, Stream, BoxError>, SdkBody>);

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl SdkConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let mut request = match request.try_into_http1x() {
            Ok(request) => request,
            Err(error) => {
                return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into())));
            }
        };
        // So that the SDK can close a connection whose server fails.
        let connection = capture_connection(&mut request);
        if let Some(captured) = request.extensions().get::<CaptureSmithyConnection>() {
            captured.set_connection_retriever(move || metadata(&connection));
        }
        let answer = self.0.request(request);
        HttpConnectorFuture::new(async move {
            let answer = answer.await.map_err(connector_error)?;
            HttpResponse::try_from(answer.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

fn metadata(connection: &CaptureConnection) -> Option<ConnectionMetadata> {
    connection.connection_metadata().as_ref()?;
    let connection = connection.clone();
    let poison = move || {
        if let Some(connected) = connection.connection_metadata().as_ref() {
            connected.poison();
        }
    };
    Some(ConnectionMetadata::builder().proxied(false).poison_fn(poison).build())
}

/// What failed, in the SDK's words, which say what it tries again.
fn connector_error(error: legacy::Error) -> ConnectorError {
    let broken = {
        let hyper = source::<hyper::Error>(&error);
        if hyper.is_some_and(hyper::Error::is_incomplete_message) {
            // The other side hung up before its answer.
            return ConnectorError::other(error.into(), Some(ErrorKind::TransientError));
        }
        error.is_connect()
            || source::<std::io::Error>(&error).is_some()
            || hyper.is_some_and(|error| error.is_closed() || error.is_canceled())
    };
    if broken {
        ConnectorError::io(error.into())
    } else {
        ConnectorError::other(error.into(), None)
    }
}

fn source<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::TrustAnchor;

    use super::*;

    /// What AWS's services show (Amazon Trust Services, Certification Authorities).
    #[test]
    fn amazons_certificates_are_built_in() {
        for name in ["Amazon Root CA 1", "Amazon Root CA 3", "Starfield Services Root"] {
            let has_name = |root: &TrustAnchor<'_>| {
                root.subject.windows(name.len()).any(|part| part == name.as_bytes())
            };
            assert!(TLS_SERVER_ROOTS.iter().any(has_name), "{name}");
        }
    }
}
