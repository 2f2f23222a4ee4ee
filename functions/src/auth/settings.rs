//! The environment variables of token verification. They are read once; a wrong one stops the start.

use std::{fs, sync::Arc};

use jsonwebtoken::Algorithm;
use platform::{
    config::{ConfigError, Variable},
    secrets,
};

use shared::config::{
    AUTH_ALGORITHM, AUTH_AUDIENCE, AUTH_CLAIM_FAMILY, AUTH_CLAIM_ROLE, AUTH_CLAIM_USER,
    AUTH_ISSUER, AUTH_JWKS_FILE, AUTH_JWKS_URL, AUTH_SECRET, AUTH_SECRET_ARN, AUTH_SECRET_FILE,
    SERVICE_SECRET, SERVICE_SECRET_ARN, SERVICE_SECRET_FILE,
};
use url::Url;

use super::{
    jwks,
    keys::{KeySet, Keys, Origin, Remote},
    tokens::{Auth, ClaimNames, Service, Verifier},
};

type Value<'a> = &'a dyn Fn(Variable) -> Option<String>;

/// The variables that can give one secret.
struct SecretVariables {
    value: Variable,
    file: Variable,
    arn: Variable,
}

const AUTH: SecretVariables =
    SecretVariables { value: AUTH_SECRET, file: AUTH_SECRET_FILE, arn: AUTH_SECRET_ARN };
const SERVICE: SecretVariables =
    SecretVariables { value: SERVICE_SECRET, file: SERVICE_SECRET_FILE, arn: SERVICE_SECRET_ARN };

impl SecretVariables {
    const fn all(&self) -> [Variable; 3] {
        [self.value, self.file, self.arn]
    }
}

impl Auth {
    /// Reads the variables that begin with `KINLINE_AUTH_` and `KINLINE_SERVICE_`, and the files that
    /// they name. Remote keys are fetched when first needed.
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_variables(&Variable::optional)
    }

    /// [`Self::from_env`], with `value` in place of the environment.
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable.
    pub fn from_variables(value: &dyn Fn(Variable) -> Option<String>) -> Result<Self, ConfigError> {
        read(value)
    }
}

fn read(value: Value<'_>) -> Result<Auth, ConfigError> {
    let names = claim_names(value)?;
    let pinned = algorithm(value)?;
    let sources = [AUTH.value, AUTH.file, AUTH.arn, AUTH_JWKS_FILE, AUTH_JWKS_URL];
    let (variable, set) = one_of(value, &sources)?.ok_or(AUTH_SECRET.missing())?;

    let (keys, algorithm) = if [AUTH_JWKS_FILE, AUTH_JWKS_URL].contains(&variable) {
        let algorithm = public_algorithm(pinned)?;
        let keys = if variable == AUTH_JWKS_FILE {
            keys_in_file(&set, algorithm)?
        } else {
            let url = address(&set)?;
            fetched(Origin::Jwks { variable: AUTH_JWKS_URL, url, algorithm })
        };
        (keys, algorithm)
    } else {
        if pinned.is_some_and(|algorithm| algorithm != Algorithm::HS256) {
            return Err(AUTH_ALGORITHM.invalid(&format!(
                "{} is for HS256; other algorithms need {} or {}",
                variable.name, AUTH_JWKS_FILE.name, AUTH_JWKS_URL.name
            )));
        }
        (secret(&AUTH, variable, set)?, Algorithm::HS256)
    };
    let mut members = Verifier::new(keys, algorithm, names.clone());
    if let Some(issuer) = value(AUTH_ISSUER) {
        members.set_issuer(&issuer);
    }
    if let Some(audience) = value(AUTH_AUDIENCE) {
        members.set_audience(&audience);
    }

    let service = match one_of(value, &SERVICE.all())? {
        Some((variable, own)) => {
            let keys = secret(&SERVICE, variable, own)?;
            if keys.are_those_of(&members.keys) {
                let why = "members' tokens are signed with it; service tokens need another";
                return Err(variable.invalid(why));
            }
            Service::Own(Box::new(Verifier::new(keys, Algorithm::HS256, names)))
        }
        None if algorithm == Algorithm::HS256 => Service::ByRole,
        None => Service::Disabled,
    };
    Ok(Auth { members, service })
}

/// The one of these variables that is set, if any.
fn one_of(
    value: Value<'_>,
    variables: &[Variable],
) -> Result<Option<(Variable, String)>, ConfigError> {
    let mut set = variables.iter().filter_map(|one| value(*one).map(|value| (*one, value)));
    match (set.next(), set.next()) {
        (Some((first, _)), Some((second, _))) => {
            Err(second.invalid(&format!("{} is set too; keys come from one place", first.name)))
        }
        (one, _) => Ok(one),
    }
}

fn claim_names(value: Value<'_>) -> Result<ClaimNames, ConfigError> {
    let usual = ClaimNames::default();
    let user = value(AUTH_CLAIM_USER).unwrap_or(usual.user);
    let family = value(AUTH_CLAIM_FAMILY).unwrap_or(usual.family);
    let role = value(AUTH_CLAIM_ROLE).unwrap_or(usual.role);
    let twice = if user == family {
        Some(AUTH_CLAIM_FAMILY)
    } else if role == user || role == family {
        Some(AUTH_CLAIM_ROLE)
    } else {
        None
    };
    match twice {
        Some(variable) => Err(variable.invalid("another claim has this name")),
        None => Ok(ClaimNames { user, family, role }),
    }
}

fn algorithm(value: Value<'_>) -> Result<Option<Algorithm>, ConfigError> {
    match value(AUTH_ALGORITHM).as_deref() {
        None => Ok(None),
        Some("HS256") => Ok(Some(Algorithm::HS256)),
        Some("RS256") => Ok(Some(Algorithm::RS256)),
        Some("ES256") => Ok(Some(Algorithm::ES256)),
        Some("EdDSA") => Ok(Some(Algorithm::EdDSA)),
        Some(_) => Err(AUTH_ALGORITHM.invalid("one of HS256, RS256, ES256, EdDSA")),
    }
}

fn public_algorithm(pinned: Option<Algorithm>) -> Result<Algorithm, ConfigError> {
    match pinned {
        None => Err(AUTH_ALGORITHM.missing()),
        Some(Algorithm::HS256) => {
            let why = "HS256 is for a secret; a key set is for RS256, ES256 or EdDSA";
            Err(AUTH_ALGORITHM.invalid(why))
        }
        Some(algorithm) => Ok(algorithm),
    }
}

fn fetched(origin: Origin) -> Keys {
    Keys::Fetched(Box::new(Remote::new(origin)))
}

/// The secret in `variable`, one of `all`, or in the file or ARN that it names.
fn secret(all: &SecretVariables, variable: Variable, set: String) -> Result<Keys, ConfigError> {
    if variable == all.arn {
        return Ok(fetched(secrets_manager(variable, set)?));
    }
    let value = if variable == all.file { secret_in_file(variable, &set)? } else { set };
    Ok(Keys::Fixed(Arc::new(KeySet::shared(&variable.secret(value)?))))
}

/// The text of a file without its final line break, which editors add.
fn secret_in_file(variable: Variable, path: &str) -> Result<String, ConfigError> {
    let text = String::from_utf8(file(variable, path)?)
        .map_err(|_| variable.invalid("the file is not UTF-8 text"))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn keys_in_file(path: &str, algorithm: Algorithm) -> Result<Keys, ConfigError> {
    let keys = jwks::parse(&file(AUTH_JWKS_FILE, path)?, algorithm)
        .ok_or_else(|| AUTH_JWKS_FILE.invalid("the file holds no key set (RFC 7517)"))?;
    if keys.is_empty() {
        let why = format!("no key in the file is for {}", AUTH_ALGORITHM.name);
        return Err(AUTH_JWKS_FILE.invalid(&why));
    }
    Ok(Keys::Fixed(Arc::new(KeySet::Public(keys))))
}

fn file(variable: Variable, path: &str) -> Result<Vec<u8>, ConfigError> {
    fs::read(path)
        .map_err(|error| variable.invalid(&format!("the file can't be read: {}", error.kind())))
}

/// The URL of a key set. HTTPS is required: changed on the way, the answer would allow forged tokens.
fn address(url: &str) -> Result<Url, ConfigError> {
    let parsed: Option<Url> = url.parse().ok();
    let usable = |url: &Url| {
        let own_machine = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let anonymous = url.username().is_empty() && url.password().is_none();
        anonymous && (url.scheme() == "https" || url.scheme() == "http" && own_machine)
    };
    parsed.filter(usable).ok_or_else(|| {
        AUTH_JWKS_URL.invalid("not a URL such as https://host/path (http is for localhost only)")
    })
}

fn secrets_manager(variable: Variable, arn: String) -> Result<Origin, ConfigError> {
    if !secrets::is_arn(&arn) {
        return Err(variable.invalid("not the ARN of a secret in AWS Secrets Manager"));
    }
    Ok(Origin::SecretsManager { variable, arn })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";
    const OTHER: &str = "fedcba9876543210fedcba9876543210";
    const ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:kin/auth-AbCdEf";
    const URL: &str = "https://id.example/.well-known/jwks.json?p=family";

    fn with(variables: &[(&str, &str)]) -> Result<Auth, ConfigError> {
        let variables = variables.to_vec();
        read(&move |variable| {
            let found = variables.iter().find(|(own, _)| *own == variable.name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn refusal(variables: &[(&str, &str)]) -> String {
        with(variables).err().map(|error| error.to_string()).unwrap_or_default()
    }

    fn temporary(name: &str, content: &str) -> String {
        let path = std::env::temp_dir().join(format!("kinline-{}-{name}", std::process::id()));
        fs::write(&path, content).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    }

    #[test]
    fn keys_come_from_exactly_one_place() {
        let none = refusal(&[]);
        let file = temporary("one-place", KEY);
        let sources = [
            ("KINLINE_AUTH_SECRET", KEY),
            ("KINLINE_AUTH_SECRET_FILE", file.as_str()),
            ("KINLINE_AUTH_SECRET_ARN", ARN),
            ("KINLINE_AUTH_JWKS_FILE", file.as_str()),
            ("KINLINE_AUTH_JWKS_URL", URL),
        ];
        for (i, first) in sources.iter().enumerate() {
            assert!(none.contains(first.0), "{none}");
            for second in sources.iter().skip(i + 1) {
                let error = refusal(&[*first, *second]);
                assert!(error.contains(first.0) && error.contains(second.0), "{error}");
                assert!(!error.contains(KEY));
            }
        }
        let error = refusal(&[
            sources[0],
            ("KINLINE_SERVICE_SECRET", OTHER),
            ("KINLINE_SERVICE_SECRET_FILE", &file),
        ]);
        assert!(error.starts_with("KINLINE_SERVICE_SECRET_FILE is not valid"), "{error}");
    }

    #[test]
    fn an_algorithm_fits_its_keys_and_is_named_for_public_ones() {
        for (source, value) in [("KINLINE_AUTH_SECRET", KEY), ("KINLINE_AUTH_SECRET_ARN", ARN)] {
            assert_eq!(refusal(&[(source, value)]), "");
            assert_eq!(refusal(&[(source, value), (AUTH_ALGORITHM.name, "HS256")]), "");
            for other in ["RS256", "ES256", "EdDSA"] {
                let error = refusal(&[(source, value), (AUTH_ALGORITHM.name, other)]);
                assert!(
                    error.starts_with(AUTH_ALGORITHM.name) && error.contains(source),
                    "{error}"
                );
            }
        }
        for algorithm in ["RS256", "ES256", "EdDSA"] {
            assert_eq!(refusal(&[(AUTH_JWKS_URL.name, URL), (AUTH_ALGORITHM.name, algorithm)]), "");
        }
        assert!(
            refusal(&[(AUTH_JWKS_URL.name, URL)]).starts_with("KINLINE_AUTH_ALGORITHM is not set")
        );
        for none in ["HS256", "none", "rs256", "RS512", "PS256", "RS256,ES256"] {
            let error = refusal(&[(AUTH_JWKS_URL.name, URL), (AUTH_ALGORITHM.name, none)]);
            assert!(error.starts_with("KINLINE_AUTH_ALGORITHM is not valid"), "{none}: {error}");
        }
    }

    #[test]
    fn keys_by_address_come_by_https() {
        let error = |url| refusal(&[(AUTH_JWKS_URL.name, url), (AUTH_ALGORITHM.name, "ES256")]);
        for good in [URL, "https://id.example", "http://127.0.0.1:8080/k", "http://[::1]/k"] {
            assert_eq!(error(good), "", "{good}");
        }
        for bad in [
            "http://id.example/jwks.json",
            "http://localhost.id.example/",
            "http://127.0.0.1@id.example/",
            "https://user:word@id.example/",
            "ftp://id.example/",
            "id.example/jwks.json",
            "/jwks.json",
            "https://",
        ] {
            assert!(error(bad).starts_with("KINLINE_AUTH_JWKS_URL is not valid"), "{bad}");
        }
    }

    #[test]
    fn files_are_read_at_the_start() {
        let secret = temporary("secret", &format!("{KEY}\n"));
        let short = temporary("short", "short-secret\n");
        assert_eq!(refusal(&[(AUTH.file.name, &secret)]), "");
        let error = refusal(&[(AUTH.file.name, &short)]);
        assert!(error.starts_with("KINLINE_AUTH_SECRET_FILE") && !error.contains("short-secret"));
        let error = refusal(&[(AUTH.file.name, "/nowhere/at/all")]);
        assert!(error.starts_with("KINLINE_AUTH_SECRET_FILE is not valid"), "{error}");

        let set = r#"{"keys":[{"kty":"OKP","crv":"Ed25519",
                      "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        let set = temporary("set", set);
        assert_eq!(refusal(&[(AUTH_JWKS_FILE.name, &set), (AUTH_ALGORITHM.name, "EdDSA")]), "");
        let error = refusal(&[(AUTH_JWKS_FILE.name, &set), (AUTH_ALGORITHM.name, "RS256")]);
        assert!(error.starts_with("KINLINE_AUTH_JWKS_FILE is not valid: no key"), "{error}");
        let error = refusal(&[(AUTH_JWKS_FILE.name, &secret), (AUTH_ALGORITHM.name, "RS256")]);
        assert!(error.starts_with("KINLINE_AUTH_JWKS_FILE is not valid"), "{error}");
    }

    #[test]
    fn a_secret_by_arn_is_fetched_when_it_is_needed() {
        assert_eq!(refusal(&[(AUTH.arn.name, ARN)]), "");
        for bad in ["kin/auth", "arn:aws:ssm:eu-west-1:1:parameter/kin"] {
            let error = refusal(&[(AUTH.arn.name, bad)]);
            assert!(error.starts_with("KINLINE_AUTH_SECRET_ARN is not valid"), "{error}");
        }
    }

    #[test]
    fn the_service_has_its_own_key_or_members_keys_or_none() {
        let secret = (AUTH.value.name, KEY);
        let jwks = [(AUTH_JWKS_URL.name, URL), (AUTH_ALGORITHM.name, "RS256")];
        let own = (SERVICE.value.name, OTHER);
        let service = |variables: &[_]| with(variables).expect("settings").service;
        assert!(matches!(service(&[secret]), Service::ByRole));
        assert!(matches!(service(&[secret, own]), Service::Own(_)));
        assert!(matches!(service(&jwks), Service::Disabled));
        assert!(matches!(service(&[jwks[0], jwks[1], own]), Service::Own(_)));
        let error = refusal(&[secret, (SERVICE.value.name, KEY)]);
        assert!(error.starts_with("KINLINE_SERVICE_SECRET is not valid"), "{error}");
        assert!(error.contains("members' tokens") && !error.contains(KEY));
        let file = temporary("same", KEY);
        let error = refusal(&[secret, (SERVICE.file.name, &file)]);
        assert!(error.starts_with("KINLINE_SERVICE_SECRET_FILE is not valid"), "{error}");
        let error = refusal(&[(AUTH.arn.name, ARN), (SERVICE.arn.name, ARN)]);
        assert!(error.starts_with("KINLINE_SERVICE_SECRET_ARN is not valid"), "{error}");
        let short = refusal(&[secret, (SERVICE.value.name, "short")]);
        assert!(short.starts_with("KINLINE_SERVICE_SECRET is not valid"), "{short}");
    }

    #[test]
    fn claims_have_different_names() {
        let secret = (AUTH.value.name, KEY);
        for (name, value) in [
            (AUTH_CLAIM_FAMILY.name, "sub"),
            (AUTH_CLAIM_ROLE.name, "familyId"),
            (AUTH_CLAIM_USER.name, "role"),
        ] {
            let error = refusal(&[secret, (name, value)]);
            assert!(error.contains("another claim has this name"), "{error}");
        }
        assert_eq!(
            refusal(&[secret, (AUTH_CLAIM_USER.name, "uid"), (AUTH_CLAIM_FAMILY.name, "sub")]),
            ""
        );
    }
}
