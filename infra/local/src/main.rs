//! `cargo run`: the whole system on this machine, in one process with a PostgreSQL beside it.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::{Parser, builder::FalseyValueParser};
use functions::Rules;
use local::{
    aws,
    browsers::Browsers,
    carrier::Carrier,
    demo,
    folder::Folder,
    secrets::Secrets,
    stack::{self, POLLERS, Parts, SWEEP_EVERY, Stack},
};
use platform::{
    config::{self as aws_config, ExposeSecret},
    logging,
};
use shared::{
    config,
    limits::{self, Pace},
    phone::Region,
};
use sqlx::{Connection, PgConnection};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    Layer,
    layer::{Context as LogContext, SubscriberExt},
    util::SubscriberInitExt,
};

/// Kinline on this machine: PostgreSQL, queue, simulated SMS carrier, API, worker, sweeper, and a
/// demo family
#[derive(Parser)]
#[command(name = "kinline", version)]
struct Settings {
    /// Port of the API and the phone wall
    #[arg(long, env = "KINLINE_PORT", default_value_t = 3000)]
    port: u16,
    /// Folder that keeps the data between runs [default: ~/.local/share/kinline/PORT]
    #[arg(long, env = "KINLINE_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Start over: delete all data of earlier runs
    #[arg(long, env = "KINLINE_FRESH", value_parser = FalseyValueParser::new())]
    fresh: bool,
    /// Start without the demo family
    #[arg(long, env = "KINLINE_NO_DEMO", value_parser = FalseyValueParser::new())]
    no_demo: bool,
    /// Address that the links in SMS begin with [default: this machine's]. Another machine's needs
    /// HTTPS: over plain HTTP, browsers keep no session
    #[arg(long, env = config::PUBLIC_URL.name)]
    public_url: Option<String>,
    /// Most messages that a member may post in an hour [default: no limit]
    #[arg(long, env = config::POSTS_PER_HOUR.name, default_value_t = 0, hide_default_value = true)]
    posts_per_hour: u32,
    /// Most threads that a member may create in an hour, 200 of them at once; 0 is no limit
    #[arg(long, env = config::THREADS_PER_HOUR.name, default_value_t = limits::THREADS_PER_HOUR)]
    threads_per_hour: u32,
    /// URL of a PostgreSQL database (15 or later) to use instead of starting one
    #[arg(long, env = config::DATABASE_URL.name, hide_env_values = true)]
    database_url: Option<String>,
}

platform::set_allocator!();

#[tokio::main]
async fn main() -> ExitCode {
    match run(Settings::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the terminal is this program's interface")]
fn say(line: &str) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "the terminal is this program's interface")]
fn complain(error: &anyhow::Error) {
    eprintln!("kinline: {error:#}");
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let began = Instant::now();
    // Before anything starts, so that Ctrl-C during the start stops as cleanly as after it.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut stopped = Box::pin(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    });

    // Before anything starts, so that a port in use is reported at once.
    let listener = listen(settings.port).await?;
    let folder = settings.data_dir.clone().unwrap_or_else(|| Folder::default_path(settings.port));
    let folder = Folder::open(&folder)?;
    if settings.fresh {
        if settings.database_url.is_some() {
            bail!(
                "--fresh does not empty the database of DATABASE_URL: empty it yourself, or unset DATABASE_URL"
            );
        }
        folder.empty()?;
    }
    log_to(&folder.join("kinline.log"))?;

    let started = tokio::select! {
        started = start(&settings, &folder, listener) => started?,
        () = &mut stopped => {
            say("stopped during the start");
            return Ok(());
        }
    };
    started.banner(&folder, began.elapsed());
    stopped.await;
    say("\nstopping…");
    started.shut_down().await
}

async fn listen(port: u16) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(("127.0.0.1", port)).await {
        Err(error) if error.kind() == ErrorKind::AddrInUse => bail!(
            "port {port} is in use: stop the program that uses it, or choose another port with --port {}",
            port.wrapping_add(1).max(1024)
        ),
        bound => bound.with_context(|| format!("can't listen on port {port}")),
    }
}

/// Logs everything to the file as JSON, and errors to the terminal as well.
fn log_to(file: &Path) -> anyhow::Result<()> {
    let log = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(file);
    let log = log.with_context(|| format!("can't write {}", file.display()))?;
    let terminal = tracing_subscriber::fmt::layer().compact().with_target(false);
    let terminal = Errors(terminal.with_writer(std::io::stderr));
    let both = tracing_subscriber::registry().with(logging::json(log)).with(terminal);
    both.with(logging::levels()).init();
    Ok(())
}

/// A layer that sees errors only, and no spans; for the reason, see [`logging::levels`].
struct Errors<L>(L);

impl<S: Subscriber, L: Layer<S>> Layer<S> for Errors<L> {
    fn on_event(&self, event: &Event<'_>, context: LogContext<'_, S>) {
        if *event.metadata().level() == Level::ERROR {
            self.0.on_event(event, context);
        }
    }
}

/// A running stack.
struct Started {
    url: String,
    database: String,
    stack: Stack,
    postgres: Option<postgres::Server>,
    demo_thread: Option<String>,
}

async fn start(
    settings: &Settings,
    folder: &Folder,
    listener: TcpListener,
) -> anyhow::Result<Started> {
    let url = format!("http://{}", listener.local_addr()?);
    let (postgres, database_url) = if let Some(database_url) = &settings.database_url {
        (None, database_url.clone())
    } else {
        let server = start_postgres(folder).await?;
        let database_url = server.url("kinline");
        create_database(&server.url("postgres")).await?;
        (Some(server), database_url)
    };
    stack::migrate(&database_url).await?;
    let database = postgres.as_ref().map_or_else(
        || "the database of DATABASE_URL".to_owned(),
        |server| format!("{} on 127.0.0.1:{}", server.version(), server.port()),
    );
    say("  database ready, schema up to date");

    let secrets = Secrets::at(&folder.join("secrets.json"))?;
    let public_url = settings.public_url.clone().unwrap_or_else(|| url.clone());
    let public_url = config::PUBLIC_URL.address(public_url)?;
    let mut stack = Stack::new(Parts {
        app_database_url: database_url.clone(),
        worker_database_url: database_url.clone(),
        secrets: secrets.clone(),
        carrier: Carrier::with_file(&folder.join("texts.jsonl"))?,
        public_url: public_url.clone(),
        rules: Rules {
            posts: Pace::hourly(settings.posts_per_hour),
            threads: Pace::of_threads_hourly(settings.threads_per_hour),
            regions: Region::list_from_env()?,
        },
        peer: None,
    })
    .await?;
    stack.browsers = Browsers::with_file(folder.join("phones.json"))?;
    write_environments(folder, &stack, &secrets, &database_url, &public_url)?;
    stack.run(listener);
    say("  queue, carrier, API, worker and sweeper running");

    let demo_thread = if settings.no_demo {
        None
    } else {
        let thread = demo::provision(&stack.router(), &secrets, &stack.carrier).await;
        Some(thread.context("can't make the demo family (--no-demo starts without it)")?)
    };
    Ok(Started { url, database, stack, postgres, demo_thread })
}

async fn start_postgres(folder: &Folder) -> anyhow::Result<postgres::Server> {
    let start = async |data_dir| {
        let options = postgres::Options { data_dir, durable: true, max_connections: 100 };
        postgres::Server::start(&options, &|step| say(&format!("  {step}"))).await
    };
    match start(folder.join("postgres")).await {
        // Existing data must not seem to be gone: then the error is returned.
        Err(postgres::Error::Unreachable { .. }) if !folder.join("postgres/cluster").exists() => {
            let outside = folder.outside();
            say(&format!(
                "  PostgreSQL does not run as root, and its user can't reach {}: its data goes to {}",
                folder.path().display(),
                outside.display()
            ));
            Ok(start(outside).await?)
        }
        started => Ok(started?),
    }
}

async fn create_database(url: &str) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    let exists: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'kinline')")
            .fetch_one(&mut connection)
            .await?;
    if !exists {
        sqlx::query("CREATE DATABASE kinline").execute(&mut connection).await?;
    }
    connection.close().await?;
    Ok(())
}

/// Writes the variables of the Lambda binaries beside this stack, for `cargo lambda --env-file`.
fn write_environments(
    folder: &Folder,
    stack: &Stack,
    secrets: &Secrets,
    database_url: &str,
    public_url: &str,
) -> anyhow::Result<()> {
    let separator = if database_url.contains('?') { '&' } else { '?' };
    for (file, role) in [("api.env", "kinline_app"), ("worker.env", "kinline_worker")] {
        let lines = [
            (config::DATABASE_URL, format!("{database_url}{separator}options[role]={role}")),
            (config::AUTH_SECRET, secrets.auth()?.expose_secret().to_owned()),
            (config::LINK_KEYS, secrets.link_pairs()),
            (config::PUBLIC_URL, public_url.to_owned()),
            (config::QUEUE_URL, stack.sqs.queue_url.clone()),
            (config::DEAD_LETTER_URL, stack.sqs.dead_letter_url.clone()),
            (aws_config::SQS_URL, stack.sqs.endpoint()),
            (aws_config::SNS_URL, stack.carrier_endpoint.clone()),
            (aws_config::REGION, aws::REGION.to_owned()),
            (aws_config::ACCESS_KEY_ID, aws::KEY.to_owned()),
            (aws_config::SECRET_ACCESS_KEY, aws::KEY.to_owned()),
        ];
        let path = folder.join(file);
        let text = lines.map(|(variable, value)| format!("{}='{value}'\n", variable.name)).concat();
        // Removed first: the mode applies to a new file only.
        let _not_there = fs::remove_file(&path);
        OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(())
}

impl Started {
    fn banner(&self, folder: &Folder, took: Duration) {
        let Self { url, database, stack, .. } = self;
        say(&format!(
            "
Kinline {version} is running (started in {took:.1} s). Ctrl-C stops everything.

  Phone wall   {url}/dev   <- open this first
  API          {url}       (reference at /docs)
  PostgreSQL   {database}
  SQS engine   {sqs}   queue kinline-jobs, dead letters kinline-dead
  SMS carrier  {carrier}   simulates Amazon SNS
  Worker       {POLLERS} pollers; the sweeper runs every {sweep} s
  Data         {data}   (kinline.log; api.env and worker.env for cargo lambda)",
            version = env!("CARGO_PKG_VERSION"),
            took = took.as_secs_f64(),
            sqs = stack.sqs.endpoint(),
            carrier = stack.carrier_endpoint,
            sweep = SWEEP_EVERY.as_secs(),
            data = folder.path().display(),
        ));
        if let Some(thread) = &self.demo_thread {
            say(&format!(
                "
Post as Mum, and three phones get an SMS:

  TOKEN=$(curl -s {url}/dev/token -H 'content-type: application/json' \\
    -d '{{\"userId\":\"mum\"}}' | cut -d'\"' -f4)
  curl -s {url}/threads/{thread}/messages \\
    -H \"authorization: Bearer $TOKEN\" -H 'content-type: application/json' \\
    -d '{{\"body\":\"Hello from the terminal\"}}'"
            ));
        }
    }

    async fn shut_down(self) -> anyhow::Result<()> {
        self.stack.shut_down().await;
        if let Some(postgres) = self.postgres {
            postgres.stop().await?;
        }
        say("stopped");
        Ok(())
    }
}
