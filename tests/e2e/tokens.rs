//! Verification of tokens: every algorithm, every source of keys, and forgeries.

use std::{path::Path, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use functions::{Api, Rules, auth::Auth, edge, web::site::Site};
use futures_util::{StreamExt, stream};
use jsonwebtoken::get_current_timestamp;
use platform::config::Variable;
use serde_json::{Value, json};
use shared::db::{Database, Role};
use tests::{
    Answer, Client, System,
    events::http_event,
    lambda::{Function, HttpAnswer, binary},
    provider::{Provider, Reply, SigningKey},
    secrets_manager::SecretsManager,
    system::FAMILY,
};
use tokio::{net::TcpListener, time};

const SERVICE_KEY: &str = "the host application's own secret, long";

/// An API on the system's database with its own settings.
struct Gate {
    url: String,
}

impl Gate {
    async fn new(system: &System, settings: &[(&str, &str)]) -> Self {
        let variable = |variable: Variable| {
            let found = settings.iter().find(|(own, _)| *own == variable.name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let auth = Auth::from_variables(&variable).expect("settings");
        let db = Database::new(system.database_url(), 4).expect("a URL").pool_as(Role::App);
        let api = Api::new(
            db,
            auth,
            Site::new("https://kin.example").expect("an address"),
            Rules::default(),
        );
        let keys = &system.stack.worker.keys;
        let router = edge(functions::all(&api, keys, &system.stack.queue()));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url }
    }

    /// An API that uses keys of this algorithm from `provider`.
    async fn by_url(system: &System, provider: &Provider, algorithm: &str) -> Self {
        let url = ("KINLINE_AUTH_JWKS_URL", provider.url.as_str());
        Self::new(system, &[url, ("KINLINE_AUTH_ALGORITHM", algorithm)]).await
    }

    fn client(&self, token: &str) -> Client {
        Client::new(&self.url, Some(token.to_owned()))
    }

    /// The answer to a member with this token.
    async fn member(&self, token: &str) -> String {
        told(&self.client(token).get("/threads").await)
    }

    /// The answer to the host application with this token.
    async fn host(&self, token: &str) -> String {
        let family = json!({ "name": "Family" });
        told(&self.client(token).put(&format!("/families/{FAMILY}"), &family).await)
    }
}

/// `200`, or the problem.
fn told(answer: &Answer) -> String {
    match answer.status {
        200 | 201 => "200".to_owned(),
        401 => {
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
            answer.problem()
        }
        _ => answer.problem(),
    }
}

const UNKNOWN: &str = "401 unauthenticated";
const UNAVAILABLE: &str = "503 unavailable";
const WRONG_KIND: &str = "403 forbidden";

fn seconds(from_now: i64) -> u64 {
    get_current_timestamp().saturating_add_signed(from_now)
}

/// A member's claims, for an hour.
fn claims() -> Value {
    json!({ "sub": "u0", "familyId": FAMILY, "exp": seconds(3600) })
}

fn with(name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    claims[name] = value.into();
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().expect("an object").remove(name);
    claims
}

fn file(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("a file");
    path.to_str().expect("UTF-8").to_owned()
}

#[tokio::test]
async fn only_the_configured_algorithm_is_accepted() {
    let system = System::start().await;
    let keys = [SigningKey::rsa(), SigningKey::ec(), SigningKey::ed()];
    let published: Vec<Value> =
        keys.iter().zip(["r", "e", "d"]).map(|(key, kid)| key.jwk(kid)).collect();
    let tokens: Vec<String> =
        keys.iter().zip(["r", "e", "d"]).map(|(key, kid)| key.sign(kid, &claims())).collect();
    for (i, key) in keys.iter().enumerate() {
        let provider = Provider::start(Reply::keys(&published)).await;
        let gate = Gate::by_url(&system, &provider, key.algorithm()).await;
        // No keys are fetched before the first token, or for a token with another algorithm.
        for (j, token) in tokens.iter().enumerate() {
            if i != j {
                assert_eq!(gate.member(token).await, UNKNOWN);
            }
        }
        assert_eq!(provider.asked(), 0);
        assert_eq!(gate.member(&tokens[i]).await, "200");
        // One key fits, so a token needs no `kid`.
        let anonymous = format!(r#"{{"alg":"{}"}}"#, key.algorithm());
        assert_eq!(gate.member(&key.sign_text(&anonymous, &claims().to_string())).await, "200");
        assert_eq!(provider.asked(), 1);
    }
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let system = System::start().await;
    let (key, stranger) = (SigningKey::rsa(), SigningKey::rsa());
    let provider = Provider::start(Reply::keys(&[key.jwk("r")])).await;
    let gate = Gate::by_url(&system, &provider, "RS256").await;
    let claims = claims();
    let payload = claims.to_string();
    let good = key.sign("r", &claims);
    assert_eq!(gate.member(&good).await, "200");

    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let (signed, signature) = good.rsplit_once('.').expect("a JWS");
    let mut forged = vec![stranger.sign("r", &claims), format!("{signed}."), signed.to_owned()];
    for none in ["none", "None", "NONE", "nOnE", "", "HS256", "RS512", "PS256", "RS384"] {
        let header = encode(&json!({ "alg": none, "kid": "r" }).to_string());
        forged.push(format!("{header}.{}.", encode(&payload)));
        forged.push(format!("{header}.{}.{signature}", encode(&payload)));
    }
    // The public key as a secret, in every form that a library may use.
    for public in key.public_forms() {
        let secret = SigningKey::secret(public);
        forged.push(secret.sign("r", &claims));
        forged.push(secret.sign_text(r#"{"alg":"RS256","kid":"r"}"#, &payload));
    }
    // A key in the token's header, or at an address that it names.
    let own = stranger.jwk("mine");
    let elsewhere = Provider::start(Reply::keys(std::slice::from_ref(&own))).await;
    for header in [
        json!({ "alg": "RS256", "jwk": own }),
        json!({ "alg": "RS256", "kid": "mine", "jku": elsewhere.url, "x5u": elsewhere.url }),
        json!({ "alg": "RS256", "kid": "../../mine" }),
        json!({ "alg": "RS256", "kid": "' OR 1=1 --" }),
    ] {
        forged.push(stranger.sign_text(&header.to_string(), &payload));
    }
    // Correctly signed, but malformed or ambiguous.
    for header in [
        r#"{"alg":"RS256","kid":"r","crit":["b64"],"b64":false}"#,
        r#"{"alg":"RS256","kid":"r","crit":[]}"#,
        r#"{"alg":"RS256","kid":"r","crit":"exp"}"#,
        r#"{"alg":"RS256","alg":"RS256","kid":"r"}"#,
        r#"{"alg":"none","kid":"r","alg":"RS256"}"#,
        r#"{"alg":"RS256","kid":["r"]}"#,
        r#"{"alg":["RS256"],"kid":"r"}"#,
        r#"{"kid":"r"}"#,
        "{}",
        "null",
    ] {
        forged.push(key.sign_text(header, &payload));
    }
    for token in &forged {
        assert_eq!(gate.member(token).await, UNKNOWN, "{token}");
        assert_eq!(gate.host(token).await, UNKNOWN, "{token}");
    }
    assert_eq!(elsewhere.asked(), 0);
    assert!(provider.asked() <= 2, "the first time, and once for unknown keys");
    assert_eq!(gate.member(&good).await, "200");
}

#[tokio::test]
async fn missing_repeated_or_invalid_claims_are_refused() {
    let system = System::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let key = SigningKey::ec();
    let set = json!({ "keys": [key.jwk("e")] }).to_string();
    let gate = Gate::new(
        &system,
        &[
            ("KINLINE_AUTH_JWKS_FILE", &file(folder.path(), "jwks.json", &set)),
            ("KINLINE_AUTH_ALGORITHM", "ES256"),
            ("KINLINE_AUTH_ISSUER", "https://id.example/"),
            ("KINLINE_AUTH_AUDIENCE", "kinline"),
        ],
    )
    .await;
    let whole = |mut claims: Value| {
        for (name, value) in [("iss", "https://id.example/"), ("aud", "kinline")] {
            let claims = claims.as_object_mut().expect("an object");
            claims.entry(name).or_insert_with(|| json!(value));
        }
        claims
    };
    for believed in [
        claims(),
        with("exp", seconds(-20)),
        with("nbf", seconds(30)),
        with("iat", seconds(3600)),
        with("aud", json!(["other", "kinline"])),
        with("role", "member"),
        with("pad", "x".repeat(4_000)),
        // A float is a valid number (RFC 7519, 2: NumericDate).
        with("exp", 4_102_444_800.5),
    ] {
        let token = key.sign("e", &whole(believed));
        assert_eq!(gate.member(&token).await, "200", "{token}");
    }
    for refused in [
        with("exp", seconds(-31)),
        with("exp", seconds(3600).to_string()),
        with("exp", json!(null)),
        with("exp", -1),
        without("exp"),
        with("nbf", seconds(40)),
        with("nbf", "now"),
        with("iss", "https://id.example"),
        with("iss", "https://evil.example/"),
        with("iss", json!(null)),
        with("aud", "Kinline"),
        with("aud", json!([])),
        with("aud", json!(["other"])),
        with("aud", json!({ "kinline": true })),
        with("sub", 7),
        with("sub", json!(null)),
        with("sub", json!(["u0"])),
        with("familyId", json!({})),
        with("familyId", "' OR 1"),
        with("role", json!(["service"])),
        with("role", true),
        without("sub"),
        without("familyId"),
        with("pad", "x".repeat(8_000)),
        with("role", "service"),
    ] {
        let token = key.sign("e", &whole(refused.clone()));
        assert_eq!(gate.member(&token).await, UNKNOWN, "{refused:.200}");
    }
    for lacking in ["iss", "aud"] {
        let mut claims = whole(claims());
        claims.as_object_mut().expect("an object").remove(lacking);
        assert_eq!(gate.member(&key.sign("e", &claims)).await, UNKNOWN, "no {lacking}");
    }
    // A claim twice: with the same value, escaped differently, or one that is not used.
    let text = whole(claims()).to_string();
    let text = text.strip_suffix('}').expect("an object");
    for twice in [
        r#""familyId":"other""#,
        r#""familyId":"fam""#,
        r#""\u0066amilyId":"other""#,
        r#""sub":"u1""#,
        r#""exp":9999999999"#,
        r#""aud":"kinline""#,
        r#""x":1,"x":1"#,
    ] {
        let token = key.sign_text(r#"{"alg":"ES256","kid":"e"}"#, &format!("{text},{twice}}}"));
        assert_eq!(gate.member(&token).await, UNKNOWN, "{twice}");
    }
    for payload in ["", "null", "[]", "\"sub\"", "{", &format!("{text}}}x"), &"[".repeat(5_000)] {
        let token = key.sign_text(r#"{"alg":"ES256","kid":"e"}"#, payload);
        assert_eq!(gate.member(&token).await, UNKNOWN, "{payload:.50}");
    }
}

#[tokio::test]
async fn claims_may_have_other_names() {
    let system = System::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let secret = "0123456789abcdef0123456789abcdef";
    let gate = Gate::new(
        &system,
        &[
            // With a newline at the end, as editors write it.
            ("KINLINE_AUTH_SECRET_FILE", &file(folder.path(), "secret", &format!("{secret}\n"))),
            ("KINLINE_AUTH_CLAIM_USER", "uid"),
            ("KINLINE_AUTH_CLAIM_FAMILY", "https://kin.example/family"),
            ("KINLINE_AUTH_CLAIM_ROLE", "https://kin.example/role"),
        ],
    )
    .await;
    let key = SigningKey::secret(secret);
    let token = |claims: Value| key.sign("any", &claims);
    let exp = seconds(60);
    let renamed = json!({ "uid": "u0", "https://kin.example/family": FAMILY, "exp": exp });
    assert_eq!(gate.member(&token(renamed)).await, "200");
    assert_eq!(gate.member(&token(claims())).await, UNKNOWN);
    let host = json!({ "https://kin.example/role": "service", "exp": exp });
    assert_eq!(gate.host(&token(host)).await, "200");
    assert_eq!(gate.host(&token(json!({ "role": "service", "exp": exp }))).await, WRONG_KIND);
}

#[tokio::test]
async fn new_keys_are_fetched_and_unknown_ones_cost_one_request() {
    let system = System::start().await;
    let (old, new) = (SigningKey::ed(), SigningKey::ed());
    let provider = Provider::start(Reply::keys(&[old.jwk("old")])).await;
    let gate = Gate::by_url(&system, &provider, "EdDSA").await;
    // Many at once before there is any key: one request for all.
    let token = old.sign("old", &claims());
    let first: Vec<String> =
        stream::iter(0..20).map(|_| gate.member(&token)).buffer_unordered(20).collect().await;
    assert!(first.iter().all(|told| told == "200"), "{first:?}");
    assert_eq!(provider.asked(), 1);

    provider.say(Reply::keys(&[old.jwk("old"), new.jwk("new")]));
    assert_eq!(gate.member(&new.sign("new", &claims())).await, "200");
    assert_eq!(gate.member(&old.sign("old", &claims())).await, "200");
    assert_eq!(provider.asked(), 2);
    // Without a `kid`, neither of two keys.
    let anonymous = new.sign_text(r#"{"alg":"EdDSA"}"#, &claims().to_string());
    assert_eq!(gate.member(&anonymous).await, UNKNOWN);
    assert_eq!(gate.member(&new.sign("old", &claims())).await, UNKNOWN);

    let forger = SigningKey::ed();
    let told: Vec<String> = stream::iter(0..200)
        .map(|i| {
            let token = forger.sign(&format!("made-up-{i}"), &claims());
            let gate = &gate;
            async move { gate.member(&token).await }
        })
        .buffer_unordered(32)
        .collect()
        .await;
    assert!(told.iter().all(|told| told == UNKNOWN));
    assert_eq!(provider.asked(), 2, "within the minute, unknown keys cause no request");
    assert_eq!(gate.member(&new.sign("new", &claims())).await, "200");
}

#[tokio::test]
async fn cached_keys_are_used_while_the_provider_is_down() {
    let system = System::start().await;
    let key = SigningKey::ed();
    let keys = [key.jwk("d")];
    let provider = Provider::start(Reply::keys(&keys)).await;
    let gate = Gate::by_url(&system, &provider, "EdDSA").await;
    let token = key.sign("d", &claims());
    assert_eq!(gate.member(&token).await, "200");
    provider.say(Reply::Body(500, json!({ "keys": [] }).to_string()));
    // An unknown key causes one request, which fails.
    assert_eq!(gate.member(&key.sign("x", &claims())).await, UNKNOWN);
    assert_eq!(provider.asked(), 2);
    assert_eq!(gate.member(&token).await, "200");
    assert_eq!(gate.member(&key.sign("y", &claims())).await, UNKNOWN);
    assert_eq!(provider.asked(), 2);
}

#[tokio::test]
async fn without_any_keys_a_token_gets_a_503() {
    let system = System::start().await;
    let key = SigningKey::rsa();
    let keys = [key.jwk("r")];
    let token = key.sign("r", &claims());
    let elsewhere = Provider::start(Reply::keys(&keys)).await;
    let huge = json!({ "keys": keys, "pad": "x".repeat(70 * 1024) }).to_string();
    for broken in [
        Reply::Body(500, String::new()),
        Reply::Body(404, json!({ "keys": keys }).to_string()),
        Reply::Body(200, String::new()),
        Reply::Body(200, "<html>Sign in</html>".to_owned()),
        Reply::Body(200, json!(keys).to_string()),
        Reply::Body(200, huge),
        Reply::Redirect(elsewhere.url.clone()),
        Reply::Silence,
    ] {
        let provider = Provider::start(broken.clone()).await;
        let gate = Gate::by_url(&system, &provider, "RS256").await;
        let (client, patience) = (gate.client(&token), Duration::from_secs(10));
        let answer = time::timeout(patience, client.get("/threads")).await.expect("an answer");
        assert_eq!(told(&answer), UNAVAILABLE, "{broken:.40?}");
        assert_eq!(answer.header("retry-after"), "1");
        // Waiting requests share one fetch.
        for _ in 0..20 {
            assert_eq!(gate.member(&token).await, UNAVAILABLE);
        }
        assert!(provider.asked() <= 10, "{}", provider.asked());
        provider.say(Reply::keys(&keys));
        let recovered = async {
            while gate.member(&token).await != "200" {
                time::sleep(Duration::from_millis(50)).await;
            }
        };
        time::timeout(Duration::from_secs(20), recovered).await.expect("keys in the end");
    }
    assert_eq!(elsewhere.asked(), 0, "a redirect is not followed");
}

#[tokio::test]
async fn a_jwks_without_a_usable_key_accepts_no_token() {
    let system = System::start().await;
    let (key, secret) = (SigningKey::rsa(), SigningKey::secret([7; 64]));
    let altered = |name: &str, value: Value| {
        let mut jwk = key.jwk("r");
        jwk[name] = value;
        jwk
    };
    let short = URL_SAFE_NO_PAD.encode([0xc5; 128]);
    for keys in [
        vec![],
        vec![secret.jwk("r")],
        vec![altered("n", json!(short))],
        vec![altered("use", json!("enc"))],
        vec![altered("alg", json!("RS512"))],
        vec![altered("key_ops", json!(["encrypt"]))],
        vec![SigningKey::ec().jwk("r"), SigningKey::ed().jwk("r")],
        vec![json!("r"), json!(null), json!({ "kid": "r" })],
    ] {
        let provider = Provider::start(Reply::keys(&keys)).await;
        let gate = Gate::by_url(&system, &provider, "RS256").await;
        assert_eq!(gate.member(&key.sign("r", &claims())).await, UNKNOWN, "{keys:?}");
        assert_eq!(gate.member(&secret.sign("r", &claims())).await, UNKNOWN);
        assert!(provider.asked() <= 2);
    }
}

#[tokio::test]
async fn only_the_service_secret_makes_a_caller_the_host() {
    let system = System::start().await;
    let (key, own) = (SigningKey::rsa(), SigningKey::secret(SERVICE_KEY));
    let provider = Provider::start(Reply::keys(&[key.jwk("r")])).await;
    let url = ("KINLINE_AUTH_JWKS_URL", provider.url.as_str());
    let algorithm = ("KINLINE_AUTH_ALGORITHM", "RS256");
    let issuer = ("KINLINE_AUTH_ISSUER", "https://id.example/");
    let mut member = claims();
    member["iss"] = json!("https://id.example/");
    let mut would_be = member.clone();
    would_be["role"] = json!("service");
    let host = json!({ "role": "service", "exp": seconds(60) });

    let service = ("KINLINE_SERVICE_SECRET", SERVICE_KEY);
    let gate = Gate::new(&system, &[url, algorithm, issuer, service]).await;
    // The host's own tokens cause no request to the provider.
    assert_eq!(gate.host(&own.sign("r", &host)).await, "200");
    assert_eq!(provider.asked(), 0);
    assert_eq!(gate.member(&key.sign("r", &member)).await, "200");
    for token in [key.sign("r", &would_be), own.sign("r", &member), own.sign("r", &host)] {
        assert_eq!(gate.member(&token).await, UNKNOWN);
    }
    assert_eq!(gate.host(&key.sign("r", &would_be)).await, UNKNOWN);
    assert_eq!(gate.host(&key.sign("r", &member)).await, UNKNOWN);
    assert_eq!(gate.host(&own.sign("r", &member)).await, WRONG_KIND);
    // Only one family, if the token names it.
    let other = json!({ "role": "service", "familyId": "other", "exp": seconds(60) });
    assert_eq!(gate.host(&own.sign("r", &other)).await, "404 family_not_found");

    // Without a service secret, no provider's token makes a caller the host.
    let gate = Gate::new(&system, &[url, algorithm, issuer]).await;
    assert_eq!(gate.member(&key.sign("r", &member)).await, "200");
    assert_eq!(gate.member(&key.sign("r", &would_be)).await, UNKNOWN);
    for token in [key.sign("r", &would_be), key.sign("r", &member), own.sign("r", &host)] {
        assert_eq!(gate.host(&token).await, UNKNOWN);
    }

    // Two secrets are kept apart too.
    let members = "what members' tokens are signed with, long";
    let secret = ("KINLINE_AUTH_SECRET", members);
    let gate = Gate::new(&system, &[secret, service]).await;
    let members = SigningKey::secret(members);
    assert_eq!(gate.member(&members.sign("", &claims())).await, "200");
    assert_eq!(gate.host(&own.sign("", &host)).await, "200");
    assert_eq!(gate.member(&members.sign("", &would_be)).await, UNKNOWN);
    assert_eq!(gate.host(&members.sign("", &would_be)).await, UNKNOWN);
    assert_eq!(gate.member(&own.sign("", &claims())).await, UNKNOWN);
    // With one secret for both, the role decides.
    let gate = Gate::new(&system, &[secret]).await;
    assert_eq!(gate.host(&members.sign("", &would_be)).await, "200");
    assert_eq!(gate.member(&members.sign("", &would_be)).await, WRONG_KIND);
    assert_eq!(gate.host(&members.sign("", &claims())).await, WRONG_KIND);
}

#[tokio::test]
async fn a_secret_may_be_in_secrets_manager() {
    let system = System::start().await;
    let manager = SecretsManager::start().await;
    // Too short to sign with.
    let arn = manager.keep("kin/auth", "short");
    let mut environment = system.environment(system.database_url(), "kinline_app");
    environment.retain(|(name, _)| *name != "KINLINE_AUTH_SECRET");
    environment.push(("KINLINE_AUTH_SECRET_ARN", arn));
    environment.push(("AWS_ENDPOINT_URL_SECRETS_MANAGER", manager.endpoint.clone()));
    let function = Function::start(&binary("threads"), &environment).await;
    let ask = async |token: &str| {
        let bearer = format!("Bearer {token}");
        let event = http_event("GET", "/threads", &[("authorization", &bearer)], None);
        let answer = function.invoke(&event, Duration::from_secs(30)).await;
        HttpAnswer::from_gateway(&answer.unwrap_or_else(|error| panic!("{error}"))).status
    };
    let secret = "from Secrets Manager, and long enough";
    let token = SigningKey::secret(secret).sign("", &claims());
    let short = SigningKey::secret("short").sign("", &claims());
    assert_eq!(ask(&token).await, 503, "it has started without it");
    assert_eq!(ask(&short).await, 503);
    manager.keep("kin/auth", secret);
    let recovered = async {
        while ask(&token).await != 200 {
            time::sleep(Duration::from_millis(50)).await;
        }
    };
    time::timeout(Duration::from_secs(20), recovered).await.expect("a secret in the end");
    let asked = manager.asked();
    assert_eq!(ask(&short).await, 401);
    assert_eq!(ask(&token).await, 200);
    assert_eq!(manager.asked(), asked);
    assert!(!function.log().contains(secret), "{}", function.log());
}

/// A function as AWS Lambda runs it, and a member's token.
struct Deployed {
    function: Function,
    event: Value,
}

impl Deployed {
    async fn new(system: &System, provider: &Provider, key: &SigningKey, trusted: &str) -> Self {
        let mut environment = system.environment(system.database_url(), "kinline_app");
        environment.retain(|(name, _)| *name != "KINLINE_AUTH_SECRET");
        environment.push(("KINLINE_AUTH_JWKS_URL", provider.url.clone()));
        environment.push(("KINLINE_AUTH_ALGORITHM", key.algorithm().to_owned()));
        environment.push(("SSL_CERT_FILE", trusted.to_owned()));
        let function = Function::start(&binary("threads"), &environment).await;
        let bearer = format!("Bearer {}", key.sign("k", &claims()));
        let event = http_event("GET", "/threads", &[("authorization", &bearer)], None);
        Self { function, event }
    }

    async fn ask(&self) -> u16 {
        let answer = self.function.invoke(&self.event, Duration::from_secs(30)).await;
        HttpAnswer::from_gateway(&answer.unwrap_or_else(|error| panic!("{error}"))).status
    }
}

#[tokio::test]
async fn a_lambda_function_fetches_keys_when_it_needs_them() {
    let system = System::start().await;
    let key = SigningKey::ec();
    let provider = Provider::start(Reply::Body(503, String::new())).await;
    // The keys come over plain HTTP, on this machine: no certificates needed.
    let deployed = Deployed::new(&system, &provider, &key, "/nowhere").await;
    assert_eq!(deployed.ask().await, 503, "it has started without it");
    provider.say(Reply::keys(&[key.jwk("k")]));
    let recovered = async {
        while deployed.ask().await != 200 {
            time::sleep(Duration::from_millis(50)).await;
        }
    };
    time::timeout(Duration::from_secs(20), recovered).await.expect("keys in the end");
    let asked = provider.asked();
    assert_eq!(deployed.ask().await, 200);
    assert_eq!(provider.asked(), asked);
    let log = deployed.function.log();
    assert!(log.contains("can't fetch keys") && log.contains("KINLINE_AUTH_JWKS_URL"), "{log}");
    assert!(!log.contains("eyJ"), "a token in the log");
}

#[tokio::test]
async fn a_jwks_is_fetched_over_https_with_the_systems_certificates() {
    let system = System::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let key = SigningKey::rsa();
    let (provider, certificate) = Provider::start_https(Reply::keys(&[key.jwk("k")])).await;
    let (_, other) = Provider::start_https(Reply::Silence).await;
    let certificate = file(folder.path(), "certificate.pem", &certificate);
    let other = file(folder.path(), "other.pem", &other);
    let deployed = Deployed::new(&system, &provider, &key, &other).await;
    assert_eq!(deployed.ask().await, 503);
    assert_eq!(provider.asked(), 0);
    let log = deployed.function.log();
    assert!(log.contains("UnknownIssuer") || log.contains("certificate"), "{log}");
    let deployed = Deployed::new(&system, &provider, &key, &certificate).await;
    assert_eq!(deployed.ask().await, 200, "{}", deployed.function.log());
    assert_eq!(provider.asked(), 1);
}
