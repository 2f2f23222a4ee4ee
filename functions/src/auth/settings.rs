//! The variables that say whose tokens are believed: read once; what does not fit stops the start.

use std::{fs, sync::Arc};

use jsonwebtoken::Algorithm;
use platform::{
    config::{self, ConfigError, Secret},
    secrets,
};

use url::Url;

use super::{
    jwks,
    keys::{KeySet, Keys, Origin, Remote},
    tokens::{Auth, ClaimNames, Service, Verifier},
};

const AUTH_SECRET: SecretNames = SecretNames {
    value: "KINLINE_AUTH_SECRET",
    file: "KINLINE_AUTH_SECRET_FILE",
    arn: "KINLINE_AUTH_SECRET_ARN",
};
const SERVICE_SECRET: SecretNames = SecretNames {
    value: "KINLINE_SERVICE_SECRET",
    file: "KINLINE_SERVICE_SECRET_FILE",
    arn: "KINLINE_SERVICE_SECRET_ARN",
};
const JWKS_FILE: &str = "KINLINE_AUTH_JWKS_FILE";
const JWKS_URL: &str = "KINLINE_AUTH_JWKS_URL";
const ALGORITHM: &str = "KINLINE_AUTH_ALGORITHM";
const ISSUER: &str = "KINLINE_AUTH_ISSUER";
const AUDIENCE: &str = "KINLINE_AUTH_AUDIENCE";
const CLAIM_USER: &str = "KINLINE_AUTH_CLAIM_USER";
const CLAIM_FAMILY: &str = "KINLINE_AUTH_CLAIM_FAMILY";
const CLAIM_ROLE: &str = "KINLINE_AUTH_CLAIM_ROLE";

type Variable<'a> = &'a dyn Fn(&'static str) -> Option<String>;

/// The variables by which one secret can be given.
struct SecretNames {
    value: &'static str,
    file: &'static str,
    arn: &'static str,
}

impl SecretNames {
    const fn all(&self) -> [&'static str; 3] {
        [self.value, self.file, self.arn]
    }
}

impl Auth {
    /// Reads the variables that begin with `KINLINE_AUTH_` and `KINLINE_SERVICE_`, and the files
    /// that they name. Fetches nothing: what has to be fetched is when it is first needed.
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_variables(&|name| config::optional(name))
    }

    /// [`Self::from_env`], with `variable` in place of the environment.
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable.
    pub fn from_variables(
        variable: &dyn Fn(&'static str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        read(variable)
    }
}

fn read(variable: Variable<'_>) -> Result<Auth, ConfigError> {
    let names = claim_names(variable)?;
    let pinned = algorithm(variable)?;
    let [value, file, arn] = AUTH_SECRET.all();
    let source = one_of(variable, &[value, file, arn, JWKS_FILE, JWKS_URL])?;
    let (name, set) = source.ok_or(ConfigError::Missing {
        name: AUTH_SECRET.value,
        what: "the secret that the host application's tokens are signed with; \
               KINLINE_AUTH_SECRET_FILE, KINLINE_AUTH_SECRET_ARN, KINLINE_AUTH_JWKS_FILE or \
               KINLINE_AUTH_JWKS_URL can be set in its place",
    })?;

    let (keys, algorithm) = if [JWKS_FILE, JWKS_URL].contains(&name) {
        let algorithm = public_algorithm(pinned)?;
        let keys = if name == JWKS_FILE {
            keys_in_file(&set, algorithm)?
        } else {
            let url = address(&set)?;
            fetched(Origin::Jwks { variable: JWKS_URL, url, algorithm })
        };
        (keys, algorithm)
    } else {
        if pinned.is_some_and(|algorithm| algorithm != Algorithm::HS256) {
            let why =
                format!("{name} is for HS256; other algorithms need {JWKS_FILE} or {JWKS_URL}");
            return Err(ConfigError::Invalid { name: ALGORITHM, why });
        }
        (secret(&AUTH_SECRET, name, set)?, Algorithm::HS256)
    };
    let mut members = Verifier::new(keys, algorithm, names.clone());
    if let Some(issuer) = variable(ISSUER) {
        members.set_issuer(&issuer);
    }
    if let Some(audience) = variable(AUDIENCE) {
        members.set_audience(&audience);
    }

    let service = match one_of(variable, &SERVICE_SECRET.all())? {
        Some((name, own)) => {
            let keys = secret(&SERVICE_SECRET, name, own)?;
            if keys.are_those_of(&members.keys) {
                let why = "members' tokens are signed with it; service tokens need another";
                return Err(ConfigError::Invalid { name, why: why.to_owned() });
            }
            Service::Own(Box::new(Verifier::new(keys, Algorithm::HS256, names)))
        }
        None if algorithm == Algorithm::HS256 => Service::ByRole,
        None => Service::Nobody,
    };
    Ok(Auth { members, service })
}

/// The one of these variables that is set, if any is.
fn one_of(
    variable: Variable<'_>,
    names: &[&'static str],
) -> Result<Option<(&'static str, String)>, ConfigError> {
    let mut set = names.iter().filter_map(|name| variable(name).map(|value| (*name, value)));
    match (set.next(), set.next()) {
        (Some((first, _)), Some((name, _))) => {
            let why = format!("{first} is set too; keys come from one place");
            Err(ConfigError::Invalid { name, why })
        }
        (one, _) => Ok(one),
    }
}

fn claim_names(variable: Variable<'_>) -> Result<ClaimNames, ConfigError> {
    let usual = ClaimNames::default();
    let user = variable(CLAIM_USER).unwrap_or(usual.user);
    let family = variable(CLAIM_FAMILY).unwrap_or(usual.family);
    let role = variable(CLAIM_ROLE).unwrap_or(usual.role);
    let twice = if user == family {
        Some(CLAIM_FAMILY)
    } else if role == user || role == family {
        Some(CLAIM_ROLE)
    } else {
        None
    };
    match twice {
        Some(name) => {
            Err(ConfigError::Invalid { name, why: "another claim has this name".to_owned() })
        }
        None => Ok(ClaimNames { user, family, role }),
    }
}

fn algorithm(variable: Variable<'_>) -> Result<Option<Algorithm>, ConfigError> {
    match variable(ALGORITHM).as_deref() {
        None => Ok(None),
        Some("HS256") => Ok(Some(Algorithm::HS256)),
        Some("RS256") => Ok(Some(Algorithm::RS256)),
        Some("ES256") => Ok(Some(Algorithm::ES256)),
        Some("EdDSA") => Ok(Some(Algorithm::EdDSA)),
        Some(_) => {
            let why = "one of HS256, RS256, ES256, EdDSA".to_owned();
            Err(ConfigError::Invalid { name: ALGORITHM, why })
        }
    }
}

fn public_algorithm(pinned: Option<Algorithm>) -> Result<Algorithm, ConfigError> {
    match pinned {
        None => Err(ConfigError::Missing {
            name: ALGORITHM,
            what: "the one algorithm that tokens are signed with: RS256, ES256 or EdDSA",
        }),
        Some(Algorithm::HS256) => {
            let why = "HS256 is for a secret; a set of public keys is for RS256, ES256 or EdDSA";
            Err(ConfigError::Invalid { name: ALGORITHM, why: why.to_owned() })
        }
        Some(algorithm) => Ok(algorithm),
    }
}

fn fetched(origin: Origin) -> Keys {
    Keys::Fetched(Box::new(Remote::new(origin)))
}

/// The secret that `name`, one of `names`, was set to, or leads to.
fn secret(names: &SecretNames, name: &'static str, set: String) -> Result<Keys, ConfigError> {
    if name == names.arn {
        return Ok(fetched(secrets_manager(name, set)?));
    }
    let value = if name == names.file { secret_in_file(name, &set)? } else { set };
    Ok(Keys::Fixed(Arc::new(KeySet::shared(&Secret::new(name, value)?))))
}

/// The text of a file, without the end of its line, which editors add.
fn secret_in_file(name: &'static str, path: &str) -> Result<String, ConfigError> {
    let text = String::from_utf8(file(name, path)?).map_err(|_| ConfigError::Invalid {
        name,
        why: "the file holds something else than text".to_owned(),
    })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn keys_in_file(path: &str, algorithm: Algorithm) -> Result<Keys, ConfigError> {
    let invalid = |why: &str| ConfigError::Invalid { name: JWKS_FILE, why: why.to_owned() };
    let keys = jwks::parse(&file(JWKS_FILE, path)?, algorithm)
        .ok_or_else(|| invalid("the file holds no set of keys (RFC 7517)"))?;
    if keys.is_empty() {
        return Err(invalid("no key in the file is for KINLINE_AUTH_ALGORITHM"));
    }
    Ok(Keys::Fixed(Arc::new(KeySet::Public(keys))))
}

fn file(name: &'static str, path: &str) -> Result<Vec<u8>, ConfigError> {
    fs::read(path).map_err(|error| {
        let why = format!("the file can't be read: {}", error.kind());
        ConfigError::Invalid { name, why }
    })
}

/// The address of a set of keys: by HTTPS, since whoever can change the answer signs tokens.
fn address(url: &str) -> Result<Url, ConfigError> {
    let parsed: Option<Url> = url.parse().ok();
    let usable = |url: &Url| {
        let own_machine = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let anonymous = url.username().is_empty() && url.password().is_none();
        anonymous && (url.scheme() == "https" || url.scheme() == "http" && own_machine)
    };
    parsed.filter(usable).ok_or_else(|| ConfigError::Invalid {
        name: JWKS_URL,
        why: "not an address as https://host/path (http on this machine alone)".to_owned(),
    })
}

fn secrets_manager(name: &'static str, arn: String) -> Result<Origin, ConfigError> {
    if !secrets::is_arn(&arn) {
        let why = "not the ARN of a secret in AWS Secrets Manager".to_owned();
        return Err(ConfigError::Invalid { name, why });
    }
    Ok(Origin::SecretsManager { variable: name, arn })
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
        read(&move |name| {
            let found = variables.iter().find(|(own, _)| *own == name);
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
            assert_eq!(refusal(&[(source, value), (ALGORITHM, "HS256")]), "");
            for other in ["RS256", "ES256", "EdDSA"] {
                let error = refusal(&[(source, value), (ALGORITHM, other)]);
                assert!(error.starts_with(ALGORITHM) && error.contains(source), "{error}");
            }
        }
        for algorithm in ["RS256", "ES256", "EdDSA"] {
            assert_eq!(refusal(&[(JWKS_URL, URL), (ALGORITHM, algorithm)]), "");
        }
        assert!(refusal(&[(JWKS_URL, URL)]).starts_with("KINLINE_AUTH_ALGORITHM is not set"));
        for none in ["HS256", "none", "rs256", "RS512", "PS256", "RS256,ES256"] {
            let error = refusal(&[(JWKS_URL, URL), (ALGORITHM, none)]);
            assert!(error.starts_with("KINLINE_AUTH_ALGORITHM is not valid"), "{none}: {error}");
        }
    }

    #[test]
    fn keys_by_address_come_by_https() {
        let error = |url| refusal(&[(JWKS_URL, url), (ALGORITHM, "ES256")]);
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
        assert_eq!(refusal(&[(AUTH_SECRET.file, &secret)]), "");
        let error = refusal(&[(AUTH_SECRET.file, &short)]);
        assert!(error.starts_with("KINLINE_AUTH_SECRET_FILE") && !error.contains("short-secret"));
        let error = refusal(&[(AUTH_SECRET.file, "/nowhere/at/all")]);
        assert!(error.starts_with("KINLINE_AUTH_SECRET_FILE is not valid"), "{error}");

        let set = r#"{"keys":[{"kty":"OKP","crv":"Ed25519",
                      "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        let set = temporary("set", set);
        assert_eq!(refusal(&[(JWKS_FILE, &set), (ALGORITHM, "EdDSA")]), "");
        let error = refusal(&[(JWKS_FILE, &set), (ALGORITHM, "RS256")]);
        assert!(error.starts_with("KINLINE_AUTH_JWKS_FILE is not valid: no key"), "{error}");
        let error = refusal(&[(JWKS_FILE, &secret), (ALGORITHM, "RS256")]);
        assert!(error.starts_with("KINLINE_AUTH_JWKS_FILE is not valid"), "{error}");
    }

    #[test]
    fn a_secret_by_arn_is_asked_for_when_it_is_needed() {
        assert_eq!(refusal(&[(AUTH_SECRET.arn, ARN)]), "");
        for bad in ["kin/auth", "arn:aws:ssm:eu-west-1:1:parameter/kin"] {
            let error = refusal(&[(AUTH_SECRET.arn, bad)]);
            assert!(error.starts_with("KINLINE_AUTH_SECRET_ARN is not valid"), "{error}");
        }
    }

    #[test]
    fn the_service_has_a_key_of_its_own_or_members_keys_or_none() {
        let secret = (AUTH_SECRET.value, KEY);
        let jwks = [(JWKS_URL, URL), (ALGORITHM, "RS256")];
        let own = (SERVICE_SECRET.value, OTHER);
        let service = |variables: &[_]| with(variables).expect("settings").service;
        assert!(matches!(service(&[secret]), Service::ByRole));
        assert!(matches!(service(&[secret, own]), Service::Own(_)));
        assert!(matches!(service(&jwks), Service::Nobody));
        assert!(matches!(service(&[jwks[0], jwks[1], own]), Service::Own(_)));
        let error = refusal(&[secret, (SERVICE_SECRET.value, KEY)]);
        assert!(error.starts_with("KINLINE_SERVICE_SECRET is not valid"), "{error}");
        assert!(error.contains("members' tokens") && !error.contains(KEY));
        let file = temporary("same", KEY);
        let error = refusal(&[secret, (SERVICE_SECRET.file, &file)]);
        assert!(error.starts_with("KINLINE_SERVICE_SECRET_FILE is not valid"), "{error}");
        let error = refusal(&[(AUTH_SECRET.arn, ARN), (SERVICE_SECRET.arn, ARN)]);
        assert!(error.starts_with("KINLINE_SERVICE_SECRET_ARN is not valid"), "{error}");
        let short = refusal(&[secret, (SERVICE_SECRET.value, "short")]);
        assert!(short.starts_with("KINLINE_SERVICE_SECRET is not valid"), "{short}");
    }

    #[test]
    fn claims_have_names_of_their_own() {
        let secret = (AUTH_SECRET.value, KEY);
        for (name, value) in [(CLAIM_FAMILY, "sub"), (CLAIM_ROLE, "familyId"), (CLAIM_USER, "role")]
        {
            let error = refusal(&[secret, (name, value)]);
            assert!(error.contains("another claim has this name"), "{error}");
        }
        assert_eq!(refusal(&[secret, (CLAIM_USER, "uid"), (CLAIM_FAMILY, "sub")]), "");
    }
}
