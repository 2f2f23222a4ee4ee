//! Reading secrets from AWS Secrets Manager by their ARNs.

use std::time::{Duration, SystemTime};

use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use http::{Request, StatusCode, header};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use crate::{
    aws::{self, Service},
    config::{ConfigError, SecretString, Variable},
    http_client,
};

/// Whether `text` looks like the ARN of a secret.
#[must_use]
pub fn is_arn(text: &str) -> bool {
    text.starts_with("arn:") && text.contains(":secretsmanager:")
}

/// A secret that can't be read. Never holds the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("can't be read from Secrets Manager: {0}")]
pub struct ReadError(String);

/// Returns the secret at `arn`, read with the credentials in the function's environment. Takes at most six
/// seconds, since a Lambda environment has ten to start.
///
/// One signed request: the SDK's client would be a quarter of nearly every binary.
///
/// # Errors
/// [`ReadError`], after three attempts.
pub async fn read(arn: &str) -> Result<SecretString, ReadError> {
    let mut delays = [Duration::from_millis(50), Duration::from_millis(200)].into_iter();
    let reading = async {
        loop {
            match try_read(arn).await {
                Err(Failure::Transient(_)) if let Some(delay) = delays.next() => sleep(delay).await,
                Err(Failure::Transient(why) | Failure::Permanent(why)) => {
                    return Err(ReadError(why));
                }
                Ok(secret) => return Ok(secret),
            }
        }
    };
    let no_answer = |_| Err(ReadError("no answer".to_owned()));
    timeout(Duration::from_secs(6), reading).await.unwrap_or_else(no_answer)
}

/// A failed attempt.
enum Failure {
    /// Another attempt may succeed.
    Transient(String),
    /// Another attempt would fail as well.
    Permanent(String),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GetSecretValueRequest<'a> {
    secret_id: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetSecretValueResponse {
    secret_string: Option<SecretString>,
}

#[derive(Default, Deserialize)]
struct ErrorResponse {
    #[serde(rename = "__type", default)]
    code: String,
}

/// Calls `GetSecretValue` (AWS Secrets Manager API Reference) once.
async fn try_read(arn: &str) -> Result<SecretString, Failure> {
    let request = request(arn).map_err(Failure::Permanent)?;
    let request =
        request.try_into().map_err(|_| Failure::Permanent("its URL is not valid".to_owned()))?;
    let answer = http_client::send(request).await;
    let answer = answer.map_err(|error| Failure::Transient(error.to_string()))?;
    if answer.status == StatusCode::OK {
        // The parser's own message may repeat what it read.
        let answer: Result<GetSecretValueResponse, _> = serde_json::from_slice(&answer.body);
        let secret = answer.ok().and_then(|answer| answer.secret_string);
        return secret.ok_or_else(|| Failure::Permanent("it holds no string".to_owned()));
    }
    // Only the code, which some responses prefix with a namespace: the message may repeat the request.
    let ErrorResponse { code } = serde_json::from_slice(&answer.body).unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default();
    let code = if code.is_empty() { answer.status.to_string() } else { code.to_owned() };
    if answer.status.is_server_error() || code == "ThrottlingException" {
        Err(Failure::Transient(code))
    } else {
        Err(Failure::Permanent(code))
    }
}

/// The partitions of AWS, each with the domains of Secrets Manager's endpoints and dual-stack endpoints.
/// Source: `partitions.json` in aws-sdk-secretsmanager 1.125, except `aws` and `aws-us-gov`, whose default
/// endpoints are dual-stack by the rules of that SDK.
const PARTITIONS: [(&str, &str, &str); 8] = [
    ("aws", "amazonaws.com", "amazonaws.com"),
    ("aws-cn", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    ("aws-eusc", "amazonaws.eu", "api.amazonwebservices.eu"),
    ("aws-iso", "c2s.ic.gov", "api.aws.ic.gov"),
    ("aws-iso-b", "sc2s.sgov.gov", "api.aws.scloud"),
    ("aws-iso-e", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    ("aws-iso-f", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
    ("aws-us-gov", "amazonaws.com", "amazonaws.com"),
];

/// Returns Secrets Manager's endpoint, by the rules of its SDK: a `custom` endpoint is used as it is, and
/// can't be combined with FIPS or dual-stack.
fn endpoint(
    partition: &str,
    region: &str,
    custom: Option<String>,
    fips: bool,
    dual_stack: bool,
) -> Result<String, String> {
    if let Some(custom) = custom {
        return if fips || dual_stack {
            Err("FIPS and dual-stack can't be combined with a custom endpoint".to_owned())
        } else {
            Ok(custom)
        };
    }
    let (_, usual, other) = PARTITIONS
        .iter()
        .find(|(name, ..)| *name == partition)
        .ok_or("its ARN has an unknown partition")?;
    let host = if fips { "secretsmanager-fips" } else { "secretsmanager" };
    // China's default endpoints are dual-stack too, except those with FIPS.
    let domain = if dual_stack && (fips || partition != "aws-cn") { other } else { usual };
    Ok(format!("https://{host}.{region}.{domain}"))
}

/// Makes the request, signed with Signature Version 4. The error is the reason why it can't be made.
fn request(arn: &str) -> Result<Request<Vec<u8>>, String> {
    let credentials = aws::credentials().map_err(|error| error.to_string())?;
    // arn:aws:secretsmanager:eu-west-1:123456789012:secret:name
    let mut parts = arn.split(':').skip(1);
    let (partition, region) = (parts.next().unwrap_or_default(), parts.nth(1).unwrap_or_default());
    let custom = aws::endpoint(Service::SecretsManager).map_err(|error| error.to_string())?;
    let endpoint = endpoint(partition, region, custom, aws::use_fips(), aws::use_dual_stack())?;
    let body = serde_json::to_vec(&GetSecretValueRequest { secret_id: arn })
        .map_err(|error| error.to_string())?;
    let mut request = Request::post(format!("{}/", endpoint.trim_end_matches('/')))
        .header(header::CONTENT_TYPE, "application/x-amz-json-1.1")
        .header("x-amz-target", "secretsmanager.GetSecretValue")
        .body(body)
        .map_err(|error| error.to_string())?;
    let identity = credentials.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("secretsmanager")
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| error.to_string())?;
    let headers = request.headers().iter();
    let headers = headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let url = request.uri().to_string();
    let signable = SignableRequest::new("POST", url, headers, SignableBody::Bytes(request.body()))
        .map_err(|error| error.to_string())?;
    let signed = sign(signable, &params.into()).map_err(|error| error.to_string())?;
    signed.into_parts().0.apply_to_request_http1x(&mut request);
    Ok(request)
}

/// Returns the value of `variable`, or the secret whose ARN is in `arn`. Exactly one of the two must be set.
///
/// # Errors
/// [`ConfigError`].
pub async fn required(variable: Variable, arn: Variable) -> Result<SecretString, ConfigError> {
    match (variable.optional(), arn.optional()) {
        (Some(value), None) => Ok(value.into()),
        (None, Some(_)) => at(arn).await,
        (None, None) => Err(variable.missing()),
        (Some(_), Some(_)) => {
            let name = variable.name;
            Err(arn.invalid(&format!("{name} is set too; a secret comes from one place")))
        }
    }
}

/// Returns the secret whose ARN is in `variable`.
///
/// # Errors
/// [`ConfigError`].
pub async fn at(variable: Variable) -> Result<SecretString, ConfigError> {
    let arn = variable.required()?;
    if !is_arn(&arn) {
        return Err(variable.invalid("not the ARN of a secret in AWS Secrets Manager"));
    }
    read(&arn).await.map_err(|error| variable.invalid(&format!("the secret {error}")))
}

#[cfg(test)]
mod tests {
    use aws_sdk_secretsmanager::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};

    use super::*;

    #[tokio::test]
    async fn endpoints_are_those_of_the_sdk() {
        let regions = [
            ("aws", "us-east-1"),
            ("aws", "eu-west-1"),
            ("aws-cn", "cn-north-1"),
            ("aws-eusc", "eusc-de-east-1"),
            ("aws-iso", "us-iso-east-1"),
            ("aws-iso-b", "us-isob-east-1"),
            ("aws-iso-e", "eu-isoe-west-1"),
            ("aws-iso-f", "us-isof-south-1"),
            ("aws-us-gov", "us-gov-west-1"),
        ];
        for (partition, ..) in PARTITIONS {
            assert!(regions.iter().any(|(own, _)| *own == partition), "{partition}");
        }
        let flags = [(false, false), (false, true), (true, false), (true, true)];
        for (partition, region) in regions {
            for custom in [None, Some("http://127.0.0.1:1")] {
                for (fips, dual_stack) in flags {
                    let params = Params::builder()
                        .region(region)
                        .use_fips(fips)
                        .use_dual_stack(dual_stack)
                        .set_endpoint(custom.map(str::to_owned))
                        .build()
                        .expect("parameters");
                    let theirs = DefaultResolver::new().resolve_endpoint(&params).await;
                    let theirs = theirs.ok().map(|endpoint| endpoint.url().to_owned());
                    let custom = custom.map(str::to_owned);
                    let ours = endpoint(partition, region, custom, fips, dual_stack).ok();
                    assert_eq!(ours, theirs, "{region}, FIPS {fips}, dual-stack {dual_stack}");
                }
            }
        }
        assert!(endpoint("aws-moon", "moon-1", None, false, false).is_err());
    }
}
