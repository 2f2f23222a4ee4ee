//! A whole system for one test: database, queue, carrier, API. The test drives the worker.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use aws_sdk_sqs::types::QueueAttributeName;
use functions::Rules;
use local::{
    carrier::{Carrier, Sms},
    secrets::{Secrets, TokenClaims},
    stack::{Parts, Stack},
};
use platform::config::ExposeSecret;
use postgres::testing::{self, TestDatabase};
use serde_json::json;
use shared::{
    db::{MIGRATOR, Role},
    delivery,
    limits::Pace,
    links,
};
use sqlx::PgPool;
use tokio::net::TcpListener;
use worker::Swept;

use crate::{
    Client, ClientAt,
    faults::proxy::Proxy,
    partitions, peer,
    pooler::{Pooler, Pooling},
};

/// The family of most tests.
pub const FAMILY: &str = "fam";

/// A system with its own database, queue and carrier. Its worker and sweeper run only when the test
/// calls them.
pub struct System {
    /// The stack.
    pub stack: Stack,
    /// The API's address.
    pub url: String,
    /// The database as its owner sees it, without row-level security.
    pub owner: PgPool,
    secrets: Secrets,
    database_url: String,
    /// The system's own database, unless it was started on another.
    database: Option<TestDatabase>,
    /// The pooler between the system and its database, if there is one.
    _pooler: Option<Pooler>,
}

impl System {
    /// Starts an empty system.
    pub async fn start() -> Self {
        Self::start_with(Rules::default()).await
    }

    /// Starts an empty system with these limits.
    pub async fn start_with(rules: Rules) -> Self {
        let database = fresh().await;
        let url = database.url().to_owned();
        Self::on(Some(database), &url, url.clone(), rules).await
    }

    /// Starts a system on the database at `url`, whose login owns it, and keeps its data.
    pub async fn start_on(url: &str) -> Self {
        Self::on(None, url, url.to_owned(), Rules::default()).await
    }

    /// Starts an empty system behind a proxy that removes the family from each statement.
    pub async fn start_unscoped() -> (Self, Proxy) {
        let database = fresh().await;
        let owner = database.url().to_owned();
        let proxy = Proxy::unscoping(&owner).await;
        let url = format!("{}?sslmode=disable", proxy.url(&owner));
        (Self::on(Some(database), &owner, url, Rules::default()).await, proxy)
    }

    /// Starts an empty system behind a proxy that records every statement.
    pub async fn start_watched() -> (Self, Proxy) {
        let database = fresh().await;
        let owner = database.url().to_owned();
        let proxy = Proxy::before(&owner).await;
        let url = format!("{}?sslmode=disable", proxy.url(&owner));
        let rules = Rules { threads: Pace::of_threads_hourly(1), ..Rules::default() };
        (Self::on(Some(database), &owner, url, rules).await, proxy)
    }

    /// Starts a system that reaches the database of `owner` at `database_url`.
    async fn on(
        database: Option<TestDatabase>,
        owner: &str,
        database_url: String,
        rules: Rules,
    ) -> Self {
        // Few connections, so that transactions of different families share them.
        let program = Pooler::program().filter(|_| database_url == owner);
        let pooling = Pooling { connections: 4, ..Pooling::default() };
        let pooler = program.map(|program| Pooler::start(&program, owner, pooling));
        let database_url = |role| match &pooler {
            Some(pooler) => pooler.url(role),
            None => database_url.clone(),
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let secrets = Secrets::new();
        if let Some(address) = peer::address() {
            peer::reset(address);
        }
        let stack = Stack::new(Parts {
            app_database_url: database_url(Role::App),
            worker_database_url: database_url(Role::Worker),
            secrets: secrets.clone(),
            carrier: Carrier::default(),
            public_url: "https://kin.example".to_owned(),
            rules,
            peer: peer::address(),
        })
        .await
        .expect("a stack");
        stack.serve(listener);
        let database_url = owner.to_owned();
        let owner = PgPool::connect_lazy(owner).expect("a URL");
        Self { stack, url, owner, secrets, database_url, database, _pooler: pooler }
    }

    /// The URL of the database, with its owner's login.
    #[must_use]
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// A dump of its own database by `pg_dump`; `None` if PostgreSQL came without it, or the database
    /// isn't its own.
    #[must_use]
    pub fn dump(&self) -> Option<String> {
        self.database.as_ref()?.dump()
    }

    /// The secrets that sign its tokens and links.
    #[must_use]
    pub const fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// A caller without a token.
    #[must_use]
    pub fn anonymous(&self) -> Client {
        Client::new(&self.url, None)
    }

    /// A caller with a token of these claims.
    #[must_use]
    pub fn caller(&self, claims: &TokenClaims<'_>) -> Client {
        Client::new(&self.url, Some(self.secrets.token(claims).expect("a token")))
    }

    /// A caller without a token at this source address.
    #[must_use]
    pub fn client_at(&self, address: IpAddr) -> ClientAt {
        ClientAt::new(self.stack.router(), address)
    }

    /// The host application.
    #[must_use]
    pub fn host(&self) -> Client {
        self.caller(&TokenClaims::service())
    }

    /// A member of [`FAMILY`].
    #[must_use]
    pub fn member(&self, user_id: &str) -> Client {
        self.caller(&TokenClaims::member(FAMILY, user_id))
    }

    /// Provisions [`FAMILY`] with `size` members `u0`, `u1`, …, each with a phone, and returns
    /// their ids.
    pub async fn family(&self, size: usize) -> Vec<String> {
        self.family_named(FAMILY, size).await
    }

    /// Provisions a family of this name; see [`Self::family`].
    pub async fn family_named(&self, family: &str, size: usize) -> Vec<String> {
        let host = self.host();
        let made = host.put(&format!("/families/{family}"), &json!({ "name": "Family" })).await;
        assert!(made.status < 300, "{}", made.as_text());
        let mut members = Vec::with_capacity(size);
        for i in 0..size {
            let id = format!("u{i}");
            let user = json!({ "name": format!("Name{i}"), "phone": phone(i) });
            let made = host.put(&format!("/families/{family}/users/{id}"), &user).await;
            assert!(made.status < 300, "{}", made.as_text());
            members.push(id);
        }
        members
    }

    /// Runs the worker until the queue is empty.
    pub async fn deliver(&self) {
        self.drain().await;
        if peer::address().is_some() {
            self.enqueue_overlooked().await;
            self.drain().await;
        }
    }

    /// Enqueues what is due and was perhaps never enqueued, until the queue has taken it, as the sweeper
    /// does half a minute after a post. Only moto needs it: on a busy machine it answers later than a post
    /// waits for the queue. A job that it took all the same is there twice, which does no harm.
    pub async fn enqueue_overlooked(&self) {
        for statement in [
            "UPDATE sms SET wake_at = now() WHERE state = 'pending' AND next_attempt_at <= now()",
            "UPDATE threads SET wake_at = now() WHERE wake_at IS NOT NULL",
            "UPDATE link_requests SET wake_at = now()",
        ] {
            sqlx::query(statement).execute(&self.owner).await.expect("time passed");
        }
        let (db, queue) = (&self.stack.worker.db, self.stack.queue());
        loop {
            let deadline = Instant::now() + Duration::from_mins(1);
            let sms = delivery::wake_sms(db, &queue, deadline).await.expect("due SMS");
            let pacing = self.stack.worker.pacing;
            let members = delivery::wake_members(db, &queue, pacing, deadline).await;
            let requests = links::wake_due(db, &queue).await.expect("due link requests");
            if sms.not_taken + members.expect("due members").not_taken + requests.not_taken == 0 {
                break;
            }
        }
    }

    async fn drain(&self) {
        let poller = self.stack.poller();
        // A receive that only moves dead letters returns no records too.
        while poller.poll_once().await.expect("a queue") > 0 || self.queued().await > 0 {}
    }

    /// The number of records that the queue can hand out now.
    pub async fn queued(&self) -> usize {
        let name = QueueAttributeName::ApproximateNumberOfMessages;
        let sqs = self.stack.sqs.client();
        let request = sqs.get_queue_attributes().queue_url(&self.stack.sqs.queue_url);
        let attributes = request.attribute_names(name.clone()).send().await.expect("a queue");
        let number = attributes.attributes().and_then(|attributes| attributes.get(&name));
        number.and_then(|number| number.parse().ok()).expect("a number")
    }

    /// The environment of a deployed function on this system, with the database at `database_url`.
    /// Without TLS, since some tests look for a COMMIT on the wire.
    #[must_use]
    pub fn environment(&self, database_url: &str, role: &str) -> Vec<(&'static str, String)> {
        vec![
            ("DATABASE_URL", format!("{database_url}?sslmode=disable&options[role]={role}")),
            (
                "KINLINE_AUTH_SECRET",
                self.secrets.auth().expect("a secret").expose_secret().to_owned(),
            ),
            ("KINLINE_LINK_KEYS", self.secrets.link_pairs()),
            ("KINLINE_PUBLIC_URL", "https://kin.example".to_owned()),
            ("KINLINE_QUEUE_URL", self.stack.sqs.queue_url.clone()),
            ("AWS_ENDPOINT_URL_SQS", self.stack.sqs.endpoint()),
            ("AWS_ENDPOINT_URL_SNS", self.stack.carrier_endpoint.clone()),
        ]
    }

    /// Runs the sweeper once.
    pub async fn sweep(&self) -> Swept {
        let swept =
            worker::sweep(&self.stack.worker.db, &self.stack.queue(), self.stack.worker.pacing)
                .await;
        assert_eq!(swept.failed, [""; 0]);
        swept
    }

    /// Runs the sweeper, with moto until it has taken all due jobs, and returns the number of jobs that the
    /// queue took.
    pub async fn sweep_into_queue(&self) -> usize {
        let mut swept = self.sweep().await;
        let mut enqueued = swept.enqueued;
        while swept.not_taken > 0 && peer::address().is_some() {
            swept = self.sweep().await;
            enqueued += swept.enqueued;
        }
        enqueued
    }

    /// Moves all that deliveries depend on back by `time`, as if it had passed.
    pub async fn pass(&self, time: Duration) {
        for moved in [
            "sms SET wake_at = wake_at - by, next_attempt_at = next_attempt_at - by,
                     lease_until = lease_until - by, expires_at = expires_at - by",
            "threads SET wake_at = wake_at - by, last_loud_at = last_loud_at - by",
            "messages SET created_at = created_at - by",
            "users SET texts_from = texts_from - by",
            "thread_members SET texts_from = texts_from - by, muted_until = muted_until - by",
            "sms_pace SET due_at = due_at - by, open_at = open_at - by",
        ] {
            let moved = moved.replace("by", "make_interval(secs => $1)");
            let moved = sqlx::query(sqlx::AssertSqlSafe(format!("UPDATE {moved}")));
            moved.bind(time.as_secs_f64()).execute(&self.owner).await.expect("time passed");
        }
    }

    /// The SMS that handsets received, oldest first, from the carrier or from moto.
    #[must_use]
    pub fn sms(&self) -> Vec<Sms> {
        peer::address().map_or_else(|| self.stack.carrier.received(None), peer::sms)
    }

    /// The SMS that `u{i}`'s handset received, oldest first.
    #[must_use]
    pub fn sms_of(&self, i: usize) -> Vec<Sms> {
        let mut all = self.sms();
        all.retain(|sms| sms.phone == phone(i));
        all
    }

    /// The token of the link in the newest SMS on `u{i}`'s handset.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn token_of(&self, i: usize) -> String {
        self.sms_of(i).last().map(token_in).expect("an SMS")
    }

    /// A browser with this cookie, as `name=value`.
    #[must_use]
    pub fn browser(&self, cookie: &str) -> Client {
        Client::browser(&self.url, cookie)
    }

    /// Moves every link back by `time`, as if it had passed.
    pub async fn age_links(&self, time: Duration) {
        sqlx::query("UPDATE magic_links SET expires_at = expires_at - make_interval(secs => $1)")
            .bind(time.as_secs_f64())
            .execute(&self.owner)
            .await
            .expect("time passed");
    }

    /// Moves every rate limit back by `time`, as if it had passed.
    pub async fn age_limits(&self, time: Duration) {
        sqlx::query(
            "UPDATE rate_limits SET hits =
                 ARRAY(SELECT hit - make_interval(secs => $1) FROM unnest(hits) hit ORDER BY hit)",
        )
        .bind(time.as_secs_f64())
        .execute(&self.owner)
        .await
        .expect("time passed");
    }

    /// The number of rows of a table.
    pub async fn count(&self, table: &'static str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&self.owner).await.expect("a table")
    }
}

/// Creates an empty database, with split tables if asked for.
async fn fresh() -> TestDatabase {
    let database = testing::database(&MIGRATOR).await;
    if let Some(parts) = partitions::wanted() {
        partitions::split(database.url(), parts).await.expect("split");
    }
    database
}

/// The token of the link in an SMS.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn token_in(sms: &Sms) -> String {
    sms.body.split_once("/l#").map(|(_, token)| token.to_owned()).expect("a link")
}

/// The phone number of `u{i}`.
#[must_use]
pub fn phone(i: usize) -> String {
    format!("+1555010{i:04}")
}
