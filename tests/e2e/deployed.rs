//! A deployment, before and at the start of its functions: secrets by their ARNs, the schema and its
//! logins by a custom resource of `CloudFormation`.

use std::{borrow::Cow, sync::Arc, time::Duration};

use axum::{Router, extract::State, http::StatusCode, routing::put};
use local::secrets::Secrets;
use postgres::testing;
use serde_json::{Value, json};
use shared::{
    db::{Database, Login, MIGRATOR},
    ids::SmsId,
};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, migrate::Migrator};
use tests::{
    System,
    events::{http_event, sqs_event},
    lambda::{Function, FunctionError, HttpAnswer, binary},
    secrets_manager::SecretsManager,
};
use tokio::{net::TcpListener, sync::mpsc};
use uuid::Uuid;

static NOTHING: Migrator = Migrator { migrations: Cow::Borrowed(&[]), ..Migrator::DEFAULT };

const TIMEOUT: Duration = Duration::from_mins(1);

/// The address at which `CloudFormation` gets responses.
struct CloudFormation {
    url: String,
    answers: mpsc::UnboundedReceiver<Value>,
}

impl CloudFormation {
    async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (hears, answers) = mpsc::unbounded_channel();
        let router = Router::new().route("/answer", put(hear)).with_state(Arc::new(hears));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let url = format!("http://{address}/answer?X-Amz-Signature=a%2Fb");
        Self { url, answers }
    }

    /// Its request for a resource.
    fn request(&self, kind: &str) -> Value {
        json!({
            "RequestType": kind,
            "ServiceToken": "arn:aws:lambda:us-east-1:123456789012:function:migrate",
            "ResponseURL": self.url,
            "StackId": "arn:aws:cloudformation:us-east-1:123456789012:stack/kinline/1",
            "RequestId": "one-request",
            "LogicalResourceId": "Migration",
            "ResourceType": "Custom::Migration",
            "ResourceProperties": { "ServiceToken": "…", "Code": "1" },
        })
    }
}

async fn hear(
    State(hears): State<Arc<mpsc::UnboundedSender<Value>>>,
    headers: axum::http::HeaderMap,
    body: String,
) -> StatusCode {
    // The URL is signed for a response without a content type.
    if headers.contains_key("content-type") || !headers.contains_key("content-length") {
        return StatusCode::FORBIDDEN;
    }
    let _ = hears.send(serde_json::from_str(&body).unwrap_or_default());
    StatusCode::OK
}

/// An empty database whose owner is no superuser, and the secrets of a deployment on it.
struct Deployment {
    /// The server as a superuser sees it.
    server: PgConnection,
    manager: SecretsManager,
    url: String,
    environment: Vec<(&'static str, String)>,
    names: [String; 2],
}

impl Deployment {
    async fn new() -> Self {
        let database = testing::database(&NOTHING).await;
        let superuser: sqlx::postgres::PgConnectOptions = database.url().parse().expect("a URL");
        let mut connection = superuser.connect().await.expect("a connection");
        let id = Uuid::new_v4().simple().to_string();
        let [owner, api, worker] = ["owner", "api", "worker"].map(|role| format!("{role}_{id}"));
        // The test's own database has a superuser's table in it.
        let name = format!("kinline_{id}");
        run(&mut connection, format!("CREATE ROLE {owner} LOGIN CREATEROLE PASSWORD 'o''wner'"))
            .await;
        run(&mut connection, format!("CREATE DATABASE {name} OWNER {owner}")).await;
        // Roles belong to the server, so those of other tests may exist already.
        for role in ["kinline_app", "kinline_worker"] {
            let make = format!(
                "DO $$ BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$"
            );
            run(&mut connection, make).await;
            run(&mut connection, format!("GRANT {role} TO {owner} WITH ADMIN OPTION")).await;
        }
        let login = |username: &str, password: &str| {
            json!({ "username": username, "password": password, "engine": "postgres" }).to_string()
        };
        let manager = SecretsManager::start().await;
        let url = format!(
            "postgres://{}:{}/{name}?sslmode=disable",
            superuser.get_host(),
            superuser.get_port()
        );
        let environment = vec![
            ("DATABASE_URL", url.clone()),
            ("KINLINE_DATABASE_SECRET_ARN", manager.keep("owner", &login(&owner, "o'wner"))),
            ("KINLINE_API_LOGIN_ARN", manager.keep("api", &login(&api, "api's, at first"))),
            ("KINLINE_WORKER_LOGIN_ARN", manager.keep("worker", &login(&worker, "worker's"))),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", manager.endpoint.clone()),
        ];
        Self { server: connection, manager, url, environment, names: [api, worker] }
    }

    fn keep_login(&self, secret: &str, username: &str, password: &str) {
        let login = json!({ "username": username, "password": password });
        self.manager.keep(secret, &login.to_string());
    }

    /// The environment of a function that uses the login in this secret.
    fn environment_of(&self, secret: &str) -> Vec<(&'static str, String)> {
        let of_all = ["DATABASE_URL", "AWS_ENDPOINT_URL_SECRETS_MANAGER"];
        let mut environment = self.environment.clone();
        environment.retain(|(name, _)| of_all.contains(name));
        let mut values = self.environment.iter().map(|(_, value)| value);
        let arn = values.find(|value| value.contains(&format!(":secret:{secret}-")));
        environment.push(("KINLINE_DATABASE_SECRET_ARN", arn.expect("a secret").clone()));
        environment
    }

    /// Ends the connections of this login, and returns when they are gone.
    async fn cut(&mut self, username: &str) {
        let cut = "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity
                   WHERE usename = $1";
        let cut: i64 = sqlx::query_scalar(cut)
            .bind(username)
            .fetch_one(&mut self.server)
            .await
            .expect("a superuser");
        assert_eq!(cut, 1, "a function has one connection");
    }

    /// The roles of this login; `None` if it is refused.
    async fn roles_of(&self, username: &str, password: &str) -> Option<Vec<String>> {
        let login = Login { username: username.to_owned(), password: password.into() };
        let database = Database::new(&self.url, 1).expect("a URL").with_login(&login);
        let mut connection = database.options().connect().await.ok()?;
        let roles = sqlx::query_scalar(
            "SELECT r.rolname::text FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
             WHERE m.member = current_user::regrole ORDER BY 1",
        );
        Some(roles.fetch_all(&mut connection).await.expect("roles"))
    }
}

async fn run(connection: &mut PgConnection, statement: String) {
    sqlx::query(AssertSqlSafe(statement)).execute(connection).await.expect("a statement");
}

#[tokio::test]
async fn a_migration_creates_logins_and_answers_cloudformation() {
    let mut deployment = Deployment::new().await;
    let mut cloudformation = CloudFormation::start().await;
    let migrate = Function::start(&binary("migrate"), &deployment.environment).await;
    let [api, worker] = deployment.names.clone();
    let told = json!({
        "Status": "SUCCESS",
        "StackId": "arn:aws:cloudformation:us-east-1:123456789012:stack/kinline/1",
        "RequestId": "one-request",
        "LogicalResourceId": "Migration",
        "PhysicalResourceId": "schema",
    });
    migrate.invoke(&cloudformation.request("Create"), TIMEOUT).await.expect("handled");
    assert_eq!(cloudformation.answers.recv().await.as_ref(), Some(&told));
    let of_app = Some(vec!["kinline_app".to_owned()]);
    assert_eq!(deployment.roles_of(&api, "api's, at first").await, of_app);
    let of_worker = Some(vec!["kinline_worker".to_owned()]);
    assert_eq!(deployment.roles_of(&worker, "worker's").await, of_worker);

    // The next run sets a new password; with a new name, the old login stays valid.
    deployment.keep_login("api", &api, "api's, from now on");
    deployment.keep_login("worker", &format!("{worker}_2"), "worker's second");
    let mut update = cloudformation.request("Update");
    update["PhysicalResourceId"] = json!("schema");
    migrate.invoke(&update, TIMEOUT).await.expect("handled");
    assert_eq!(cloudformation.answers.recv().await.as_ref(), Some(&told));
    assert_eq!(deployment.roles_of(&api, "api's, at first").await, None);
    assert_eq!(deployment.roles_of(&api, "api's, from now on").await, of_app);
    assert_eq!(deployment.roles_of(&worker, "worker's").await, of_worker);
    assert_eq!(deployment.roles_of(&format!("{worker}_2"), "worker's second").await, of_worker);

    // A function of the deployment, without secrets in its environment.
    deployment
        .environment
        .retain(|(name, _)| ["DATABASE_URL", "AWS_ENDPOINT_URL_SECRETS_MANAGER"].contains(name));
    let login = json!({ "username": api, "password": "api's, from now on" }).to_string();
    let arn = deployment.manager.keep("api", &login);
    deployment.environment.push(("KINLINE_DATABASE_SECRET_ARN", arn));
    let function = Function::start(&binary("health"), &deployment.environment).await;
    assert_eq!(health(&function).await, 200);

    // Invoked by hand, the function returns its answer; deleting the resource deletes nothing else.
    let by_hand = migrate.invoke(&json!({}), TIMEOUT).await.expect("handled");
    assert_eq!(by_hand, json!({ "status": "SUCCESS" }));
    migrate.invoke(&cloudformation.request("Delete"), TIMEOUT).await.expect("handled");
    assert_eq!(cloudformation.answers.recv().await.as_ref(), Some(&told));
    assert_eq!(deployment.roles_of(&api, "api's, from now on").await, of_app);
    for secret in ["api's", "worker's", "o'wner", "SCRAM"] {
        assert!(!migrate.log().contains(secret), "{secret} in the log");
    }
}

/// The status of a function's `GET /health`.
async fn health(function: &Function) -> u16 {
    let answer = function.invoke(&http_event("GET", "/health", &[], None), TIMEOUT).await;
    HttpAnswer::from_gateway(&answer.expect("an answer")).status
}

/// A job of an SMS that does not exist, which a worker acknowledges after asking the database.
fn job() -> Value {
    let body = json!({ "v": 2, "kind": "sms", "familyId": "fam", "smsId": SmsId::new() });
    sqs_event(&[("record", &body.to_string())])
}

#[tokio::test]
async fn running_functions_pick_up_a_new_password() {
    let mut deployment = Deployment::new().await;
    let migrate = Function::start(&binary("migrate"), &deployment.environment).await;
    migrate.invoke(&json!({}), TIMEOUT).await.expect("handled");
    let [api, worker] = deployment.names.clone();
    let of_api = Function::start(&binary("health"), &deployment.environment_of("api")).await;
    let mut environment = deployment.environment_of("worker");
    environment.push(("KINLINE_LINK_KEYS", Secrets::new().link_pairs()));
    environment.push(("KINLINE_PUBLIC_URL", "https://kin.example".to_owned()));
    let of_worker = Function::start(&binary("worker"), &environment).await;
    let done = json!({ "batchItemFailures": [] });
    assert_eq!(health(&of_api).await, 200);
    assert_eq!(of_worker.invoke(&job(), TIMEOUT).await.expect("handled"), done);

    // As docs/operations.md says.
    deployment.keep_login("api", &api, "api's next");
    deployment.keep_login("worker", &worker, "worker's next");
    migrate.invoke(&json!({}), TIMEOUT).await.expect("handled");
    assert_eq!(deployment.roles_of(&api, "api's, at first").await, None);
    let asked = deployment.manager.asked();
    assert_eq!(health(&of_api).await, 200);
    assert_eq!(deployment.manager.asked(), asked, "open connections stay");

    deployment.cut(&api).await;
    deployment.cut(&worker).await;
    assert_eq!(health(&of_api).await, 200);
    assert_eq!(of_worker.invoke(&job(), TIMEOUT).await.expect("handled"), done);
    assert_eq!(deployment.manager.asked(), asked + 2, "once for each function");
    deployment.cut(&api).await;
    assert_eq!(health(&of_api).await, 200);
    assert_eq!(deployment.manager.asked(), asked + 2, "it is kept");
    for function in [&of_api, &of_worker] {
        assert!(function.log().contains("read its secret again"), "{}", function.log());
        assert!(!function.log().contains("next"), "{}", function.log());
    }
}

#[tokio::test]
async fn a_refused_login_fails_requests_with_503_and_reads_the_secret_once() {
    let mut deployment = Deployment::new().await;
    let migrate = Function::start(&binary("migrate"), &deployment.environment).await;
    migrate.invoke(&json!({}), TIMEOUT).await.expect("handled");
    let [api, worker] = deployment.names.clone();
    let of_api = Function::start(&binary("health"), &deployment.environment_of("api")).await;
    let mut environment = deployment.environment_of("worker");
    environment.push(("KINLINE_LINK_KEYS", Secrets::new().link_pairs()));
    environment.push(("KINLINE_PUBLIC_URL", "https://kin.example".to_owned()));
    let of_worker = Function::start(&binary("worker"), &environment).await;
    assert_eq!(health(&of_api).await, 200);
    of_worker.invoke(&job(), TIMEOUT).await.expect("handled");

    // The database has the new password, and the secret not yet.
    for username in [&api, &worker] {
        let statement = format!("ALTER ROLE {username} PASSWORD 'known to the database'");
        run(&mut deployment.server, statement).await;
        deployment.cut(username).await;
    }
    let asked = deployment.manager.asked();
    for _ in 0..2 {
        assert_eq!(health(&of_api).await, 503);
        assert_eq!(deployment.manager.asked(), asked + 1, "not with every request");
    }
    let back = json!({ "batchItemFailures": [{ "itemIdentifier": "record" }] });
    assert_eq!(of_worker.invoke(&job(), TIMEOUT).await.expect("handled"), back);
    assert_eq!(deployment.manager.asked(), asked + 2, "each function for itself");

    // Once the secret has it too, functions connect.
    deployment.keep_login("api", &api, "known to the database");
    let fresh = Function::start(&binary("health"), &deployment.environment_of("api")).await;
    assert_eq!(health(&fresh).await, 200);
}

#[tokio::test]
async fn a_failed_migration_rolls_the_deployment_back_with_its_reason() {
    let deployment = Deployment::new().await;
    let mut cloudformation = CloudFormation::start().await;
    let migrate = Function::start(&binary("migrate"), &deployment.environment).await;
    deployment.keep_login("owner", "nobody", "nobody's");
    for (why, login) in [("can't reach the database", "nobody"), ("is not {", "")] {
        if login.is_empty() {
            deployment.manager.keep("owner", "no JSON");
        }
        migrate.invoke(&cloudformation.request("Create"), TIMEOUT).await.expect("handled");
        let told = cloudformation.answers.recv().await.expect("an answer");
        assert_eq!(told["Status"], "FAILED", "{told}");
        assert!(told["Reason"].as_str().is_some_and(|reason| reason.contains(why)), "{told}");
        assert_eq!(told["PhysicalResourceId"], "schema");
        let by_hand = migrate.invoke(&json!({}), TIMEOUT).await.expect_err("it failed");
        assert!(
            matches!(&by_hand, FunctionError::Handler(error) if error.to_string().contains(why))
        );
    }
}

#[tokio::test]
async fn the_code_runs_on_a_newer_schema() {
    let deployment = Deployment::new().await;
    let migrate = Function::start(&binary("migrate"), &deployment.environment).await;
    migrate.invoke(&json!({}), TIMEOUT).await.expect("handled");
    let [api, _] = &deployment.names;
    let owner = Login { username: api.replace("api", "owner"), password: "o'wner".into() };
    let database = Database::new(&deployment.url, 1).expect("a URL").with_login(&owner);
    let mut connection = database.options().connect().await.expect("a connection");
    let newer =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (29991231000000, 'of a version to come', true, '', 0)";
    run(&mut connection, newer.to_owned()).await;
    migrate.invoke(&json!({}), TIMEOUT).await.expect("handled");
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations")
        .fetch_one(&mut connection)
        .await
        .expect("a count");
    assert_eq!(usize::try_from(count).ok(), Some(MIGRATOR.iter().count() + 1));
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_stops_the_start_and_names_its_variable() {
    let system = System::start().await;
    let manager = SecretsManager::start().await;
    let login = manager.keep("login", "no JSON");
    let keys = manager.keep("keys", "a=short");
    let nothing = login.replace("login", "nothing");
    for (name, without, variable, arn) in [
        ("links", "KINLINE_LINK_KEYS", "KINLINE_LINK_KEYS_ARN", keys.as_str()),
        ("links", "KINLINE_LINK_KEYS", "KINLINE_LINK_KEYS_ARN", nothing.as_str()),
        ("worker", "KINLINE_LINK_KEYS", "KINLINE_LINK_KEYS_ARN", "kin/keys"),
        ("worker", "", "KINLINE_LINK_KEYS_ARN", keys.as_str()),
        ("threads", "", "KINLINE_DATABASE_SECRET_ARN", login.as_str()),
        ("sweeper", "", "KINLINE_DATABASE_SECRET_ARN", nothing.as_str()),
    ] {
        let mut environment = system.environment(system.database_url(), "kinline_app");
        environment.retain(|(name, _)| *name != without);
        environment.push((variable, arn.to_owned()));
        environment.push(("AWS_ENDPOINT_URL_SECRETS_MANAGER", manager.endpoint.clone()));
        let function = Function::start(&binary(name), &environment).await;
        let failed = function.invoke(&json!({}), TIMEOUT).await.expect_err("it can't start");
        let FunctionError::Exited { log, .. } = &failed else { panic!("{failed}") };
        assert!(log.contains("KINLINE_LINK_KEYS") || log.contains(variable), "{name}: {log}");
        assert!(!log.contains("short-") && !log.contains("no JSON"), "{log}");
    }
}
