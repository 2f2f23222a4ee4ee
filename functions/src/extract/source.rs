//! The source address of a request, from the network and not from a header.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
};

use axum::extract::{ConnectInfo, FromRequestParts};
use http::request::Parts;
use lambda_http::request::RequestContext;

/// The source address of a request: from API Gateway on AWS, else from the connection. The sender can
/// write `X-Forwarded-For`, so it is ignored. `None` if the address is not known: all such requests
/// count as one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source(pub Option<IpAddr>);

impl<S: Send + Sync> FromRequestParts<S> for Source {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let gateway = match parts.extensions.get::<RequestContext>() {
            Some(RequestContext::ApiGatewayV2(context)) => {
                context.http.source_ip.as_deref().and_then(|address| address.parse().ok())
            }
            _ => None,
        };
        let connection = || parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|c| c.0.ip());
        // An IPv4-mapped IPv6 address is the same source.
        Ok(Self(gateway.or_else(connection).map(|address: IpAddr| address.to_canonical())))
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequestContext;

    use super::*;

    async fn source(request: Request<()>) -> Option<IpAddr> {
        let (mut parts, ()) = request.into_parts();
        let Ok(Source(address)) = Source::from_request_parts(&mut parts, &()).await;
        address
    }

    fn from_gateway(address: Option<&str>) -> Request<()> {
        let mut context = ApiGatewayV2httpRequestContext::default();
        context.http.source_ip = address.map(str::to_owned);
        let mut request = Request::new(());
        request.extensions_mut().insert(RequestContext::ApiGatewayV2(context));
        request
    }

    #[tokio::test]
    async fn the_address_is_of_the_network_and_not_of_a_header() {
        let address: IpAddr = "203.0.113.7".parse().expect("an address");
        assert_eq!(source(from_gateway(Some("203.0.113.7"))).await, Some(address));
        assert_eq!(source(from_gateway(Some("::ffff:203.0.113.7"))).await, Some(address));
        for invalid in [None, Some(""), Some("unknown"), Some("203.0.113.7, 10.0.0.1")] {
            assert_eq!(source(from_gateway(invalid)).await, None);
        }
        let mut direct = Request::builder().header("x-forwarded-for", "192.0.2.1");
        let connection = ConnectInfo(SocketAddr::from(([203, 0, 113, 7], 4711)));
        direct.extensions_mut().expect("a request").insert(connection);
        assert_eq!(source(direct.body(()).expect("a request")).await, Some(address));
        assert_eq!(source(Request::new(())).await, None);
    }
}
