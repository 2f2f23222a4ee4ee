//! Migrates the schema and creates the functions' logins before new code runs: a custom resource of
//! the deployment, which `CloudFormation` waits for.

use std::time::Duration;

use anyhow::{Context, bail};
use platform::{config::ExposeSecret, http_client};
use postgres_protocol::password::scram_sha_256;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::{
    config,
    db::{self, Database, Login},
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, migrate::Migrator};
use url::Url;

/// The time reserved for answering `CloudFormation`, with three attempts.
const ANSWER_TIME: Duration = Duration::from_secs(15);

/// A request of `CloudFormation` to a custom resource. Invoked by hand, `{}` is enough: the result is
/// then the function's response.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Event {
    request_type: Option<Kind>,
    #[serde(rename = "ResponseURL")]
    response_url: Option<String>,
    stack_id: String,
    request_id: String,
    logical_resource_id: String,
    physical_resource_id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Kind {
    Create,
    Update,
    Delete,
}

/// The response (AWS `CloudFormation` User Guide, "Custom resource response objects").
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Response<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    stack_id: &'a str,
    request_id: &'a str,
    logical_resource_id: &'a str,
    physical_resource_id: &'a str,
}

/// The database to migrate and the logins to create.
pub struct Migration {
    /// The database, as the login that owns it.
    pub owner: Database,
    /// The login of the API's functions.
    pub api: Login,
    /// The login of worker and sweeper.
    pub worker: Login,
}

impl Migration {
    /// Reads the Lambda function's environment at each run, so that a changed password counts.
    ///
    /// # Errors
    /// [`platform::config::ConfigError`] naming the variable.
    pub async fn from_env() -> anyhow::Result<Self> {
        Ok(Self {
            owner: Database::from_env().await?,
            api: Login::at(config::API_LOGIN_ARN).await?,
            worker: Login::at(config::WORKER_LOGIN_ARN).await?,
        })
    }

    /// Runs pending migrations, and creates or updates both logins as members of their roles.
    /// Idempotent.
    ///
    /// # Errors
    /// Of the database. Completed steps stay: the next run continues from there.
    pub async fn run(&self) -> anyhow::Result<()> {
        let mut connection =
            self.owner.options().connect().await.context("can't reach the database")?;
        migrations().run(&mut connection).await.context("can't bring the schema up to date")?;
        for (login, role) in [(&self.api, "kinline_app"), (&self.worker, "kinline_worker")] {
            let done = put_login(&mut connection, login, role).await;
            done.with_context(|| format!("can't make the login of {role}"))?;
        }
        connection.close().await?;
        Ok(())
    }
}

/// The schema's migrations. A database that is newer than this code is accepted: that is a rollback
/// of the code, which the schema allows.
fn migrations() -> Migrator {
    let mut migrations = Migrator::with_migrations(db::MIGRATOR.iter().cloned().collect());
    migrations.set_ignore_missing(true);
    migrations
}

/// Creates `login`, or sets its password, and grants it `role`.
async fn put_login(connection: &mut PgConnection, login: &Login, role: &str) -> anyhow::Result<()> {
    let name = login.username.as_str();
    let (owner, exists): (String, bool) = sqlx::query_as(
        "SELECT current_user::text, EXISTS (SELECT FROM pg_roles WHERE rolname = $1)",
    )
    .bind(name)
    .fetch_one(&mut *connection)
    .await?;
    if name == owner || name == role {
        bail!("its username is {role}'s or the owner's; it needs another one");
    }
    // Neither statement takes parameters; `format` quotes what goes into them.
    let verb = if exists { "ALTER" } else { "CREATE" };
    let statements: (String, String) = sqlx::query_as(
        "SELECT format('%s ROLE %I LOGIN PASSWORD %L', $1, $2, $3), format('GRANT %I TO %I', $4, $2)",
    )
    .bind(verb)
    .bind(name)
    .bind(scram_sha_256(login.password.expose_secret().as_bytes()))
    .bind(role)
    .fetch_one(&mut *connection)
    .await?;
    let mut tx = connection.begin().await?;
    sqlx::query("SET LOCAL lock_timeout = '5s'").execute(&mut *tx).await?;
    sqlx::query(AssertSqlSafe(statements.0)).execute(&mut *tx).await?;
    sqlx::query(AssertSqlSafe(statements.1)).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}

/// Handles the event and reports the result to `CloudFormation`, if the event is from there. A
/// reported failure rolls the deployment back. `left` is the time that remains.
///
/// # Errors
/// When it failed and only the caller can be told.
pub async fn answer(event: Event, left: Duration) -> anyhow::Result<Value> {
    let done = if event.request_type == Some(Kind::Delete) {
        // Deleting the resource deletes no messages.
        Ok(())
    } else {
        let time = left.saturating_sub(ANSWER_TIME);
        let run = async { Migration::from_env().await?.run().await };
        let done = tokio::time::timeout(time, run).await;
        done.unwrap_or_else(|_| bail!("it took longer than {time:?}"))
    };
    // With its causes: the last one says why a migration failed.
    let reason = done.as_ref().err().map(|error| format!("{error:#}"));
    match &reason {
        None => tracing::info!(kind = ?event.request_type, "the schema is up to date"),
        Some(reason) => tracing::error!(reason, "the schema is not up to date"),
    }
    let Some(url) = &event.response_url else {
        return done.map(|()| json!({ "status": "SUCCESS" }));
    };
    let body = serde_json::to_vec(&Response {
        status: if done.is_ok() { "SUCCESS" } else { "FAILED" },
        // CloudFormation accepts 4 KB in all.
        reason: reason.as_deref().map(|reason| &reason[..reason.floor_char_boundary(1000)]),
        stack_id: &event.stack_id,
        request_id: &event.request_id,
        logical_resource_id: &event.logical_resource_id,
        // Always the same: a new one would have the old one deleted.
        physical_resource_id: event.physical_resource_id.as_deref().unwrap_or("schema"),
    })?;
    let url: Url = url.parse().context("CloudFormation's URL is not valid")?;
    let mut tries = 3;
    loop {
        tries -= 1;
        match http_client::put(&url, body.clone()).await {
            Ok(_) => return Ok(json!({ "status": "told CloudFormation" })),
            Err(error) if tries == 0 => {
                return Err(error).context("can't tell CloudFormation");
            }
            Err(error) => tracing::warn!(%error, "can't tell CloudFormation, trying again"),
        }
    }
}
