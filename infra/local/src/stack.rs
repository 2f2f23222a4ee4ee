//! The stack's wiring, which on AWS is Lambda functions, the queue's event source and a schedule.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use axum::Router;
use functions::{Api, Rules, auth::Auth, edge, web::site::Site};
use shared::{
    config,
    db::{self, Database, Pool, Role},
    delivery::Pacing,
    queue::Queue,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use worker::{Swept, Worker, carriers::sns::Sns, sms::Limits};

use crate::{
    aws,
    browsers::{self, Browsers},
    carrier::Carrier,
    dev,
    http::{self, Timeouts},
    poller::Poller,
    secrets::Secrets,
    sqs::SqsEngine,
};

/// Batches that are handled side by side: as many as Lambda begins with for a queue.
pub const POLLERS: usize = 5;
/// The sweeper's interval. A minute on AWS; shorter here, where a developer is watching.
pub const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// The parts of a stack.
pub struct Parts {
    /// URL of a database with the schema, whose login may take the API's role.
    pub app_database_url: String,
    /// URL of the same database, whose login may take the worker's role.
    pub worker_database_url: String,
    /// The secrets that sign tokens and links.
    pub secrets: Secrets,
    /// The carrier.
    pub carrier: Carrier,
    /// The address that links begin with.
    pub public_url: String,
    /// The limits against abuse.
    pub rules: Rules,
    /// Another implementation of SQS and SNS, used in place of the local engines.
    pub peer: Option<SocketAddr>,
}

/// All of Kinline, wired up. Nothing runs by itself before [`Stack::run`].
pub struct Stack {
    /// The queue's engine.
    pub sqs: SqsEngine,
    /// The carrier.
    pub carrier: Carrier,
    /// The carrier's address.
    pub carrier_endpoint: String,
    /// The worker, which turns jobs into SMS.
    pub worker: Worker,
    /// The handsets' browsers: new ones, unless replaced before the stack serves.
    pub browsers: Browsers,
    /// The server's time-outs for clients.
    pub timeouts: Timeouts,
    /// Stops everything that runs.
    pub stop: CancellationToken,
    api: Api,
    secrets: Secrets,
    tasks: TaskTracker,
    carrier_server: JoinHandle<()>,
}

impl Stack {
    /// Starts the engines on free ports of loopback and wires the rest to them.
    ///
    /// # Errors
    /// When there is no free port, or a setting is not valid.
    pub async fn new(parts: Parts) -> anyhow::Result<Self> {
        let sqs = SqsEngine::start(parts.carrier.faults.clone(), parts.peer).await?;
        let (own_carrier, carrier_server) = parts.carrier.serve().await?;
        let carrier_endpoint = parts.peer.map_or(own_carrier, |peer| format!("http://{peer}"));
        let mut sns = aws::sns(&carrier_endpoint);
        if parts.peer.is_some() {
            sns = sns.sleep_impl(aws::Patient);
        }
        let (limits, stop_notices) = (Limits::from_env()?, worker::stop_notices_from_env()?);
        let public_url = parts.public_url.trim_end_matches('/');
        limits.check_url(config::PUBLIC_URL, public_url, stop_notices.is_some())?;
        let pool = |url: &str, role, size| anyhow::Ok(Database::new(url, size)?.pool_as(role));
        Ok(Self {
            api: Api::new(
                pool(&parts.app_database_url, Role::App, 16)?,
                Auth::hs256(&parts.secrets.auth()?),
                Site::new(public_url)?,
                parts.rules,
            ),
            worker: Worker {
                db: pool(&parts.worker_database_url, Role::Worker, 8)?,
                sns: Sns::new(sns),
                keys: Arc::new(parts.secrets.link_keys()?),
                public_url: public_url.into(),
                limits,
                stop_notices,
                pacing: Pacing::from_env()?,
                default_cap: worker::default_cap_from_env()?,
            },
            sqs,
            carrier: parts.carrier,
            carrier_endpoint,
            carrier_server,
            browsers: Browsers::default(),
            timeouts: Timeouts::default(),
            secrets: parts.secrets,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// The API and the local-only endpoints, behind the edge.
    pub fn router(&self) -> Router {
        let dev = dev::router(dev::Dev {
            secrets: self.secrets.clone(),
            carrier: self.carrier.clone(),
            db: self.worker.db.clone(),
            stop: self.stop.clone(),
        });
        let product = functions::all(&self.api, &self.worker.keys, &self.sqs.queue());
        let phones = browsers::router(self.browsers.clone(), product.clone());
        edge(product.merge(dev).merge(phones).layer(http::request_timeout(self.timeouts)))
    }

    /// The queue as the API and the sweeper use it.
    #[must_use]
    pub fn queue(&self) -> Queue {
        self.sqs.queue()
    }

    /// The poller that hands the queue's records to the worker.
    #[must_use]
    pub fn poller(&self) -> Poller {
        Poller {
            sqs: self.sqs.client().clone(),
            queue_url: self.sqs.queue_url.clone(),
            worker: self.worker.clone(),
        }
    }

    /// Serves HTTP on `listener`, polls the queue, and sweeps, until [`Self::stop`].
    pub fn run(&self, listener: TcpListener) {
        self.serve(listener);
        for _ in 0..POLLERS {
            self.tasks.spawn(self.poller().run(self.stop.clone()));
        }
        let (worker, queue) = (&self.worker, self.queue());
        let sweeping = sweep_often(worker.db.clone(), queue, worker.pacing, self.stop.clone());
        self.tasks.spawn(sweeping);
    }

    /// Serves HTTP on `listener` until [`Self::stop`].
    pub fn serve(&self, listener: TcpListener) {
        let server = http::serve(listener, self.router(), self.timeouts, self.stop.clone());
        self.tasks.spawn(server);
    }

    /// Stops everything: running work gets a second to end, then it is cut.
    pub async fn shut_down(mut self) {
        self.stop.cancel();
        self.tasks.close();
        let _cut = tokio::time::timeout(Duration::from_secs(1), self.tasks.wait()).await;
        self.sqs.stop().await;
        self.carrier_server.abort();
        self.api.db.close();
        self.worker.db.close();
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.stop.cancel();
        self.carrier_server.abort();
    }
}

async fn sweep_often(db: Pool, queue: Queue, pacing: Pacing, stop: CancellationToken) {
    loop {
        let swept = worker::sweep(&db, &queue, pacing).await;
        if swept != Swept::default() {
            tracing::info!(?swept, "swept");
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
    }
}

/// Brings the schema of `url` up to date and lets its login take both roles.
///
/// # Errors
/// When the database can't be reached, is newer than this program, or refuses.
pub async fn migrate(url: &str) -> anyhow::Result<()> {
    Database::new(url, 1)?;
    let mut connection = PgConnection::connect(url).await.context("can't reach the database")?;
    db::MIGRATOR.run(&mut connection).await.context(
        "can't bring the schema up to date (the login has to own the database, and needs CREATEROLE \
         the first time)",
    )?;
    for role in ["kinline_app", "kinline_worker"] {
        let is_member: bool = sqlx::query_scalar("SELECT pg_has_role(CURRENT_USER, $1, 'MEMBER')")
            .bind(role)
            .fetch_one(&mut connection)
            .await?;
        if !is_member {
            let grant = AssertSqlSafe(format!("GRANT {role} TO CURRENT_USER"));
            sqlx::query(grant).execute(&mut connection).await.with_context(|| {
                format!(
                    "can't take the role {role}; run as a superuser: GRANT {role} TO <this login>"
                )
            })?;
        }
    }
    connection.close().await?;
    Ok(())
}
