//! Compares `infra/template.yaml` with the code.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Map, Value, json};
use tests::{
    System,
    events::{http_event, schedule_event, sqs_event},
    lambda::{Function, HttpAnswer, binary},
    secrets_manager::SecretsManager,
};

const TIMEOUT: Duration = Duration::from_secs(30);

/// The repository's folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(crate) fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// YAML as JSON, with `CloudFormation`'s tags in their long form: `!Ref x` is `{"Ref": "x"}`.
fn plain(yaml: &serde_norway::Value) -> Value {
    use serde_norway::Value as Yaml;
    match yaml {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => json!(value),
        Yaml::Number(value) => {
            value.as_i64().map_or_else(|| json!(value.as_f64()), |whole| json!(whole))
        }
        Yaml::String(value) => json!(value),
        Yaml::Sequence(values) => values.iter().map(plain).collect(),
        Yaml::Mapping(pairs) => {
            let name = |name: &Yaml| name.as_str().expect("names are strings").to_owned();
            pairs.iter().map(|(key, value)| (name(key), plain(value))).collect()
        }
        Yaml::Tagged(tagged) => {
            let tag = tagged.tag.to_string();
            let tag = tag.trim_start_matches('!');
            let short = ["Ref", "Condition"].contains(&tag);
            let name = if short { tag.to_owned() } else { format!("Fn::{tag}") };
            json!({ name: plain(&tagged.value) })
        }
    }
}

/// The template.
pub(crate) struct Template(pub(crate) Value);

impl Template {
    pub(crate) fn read() -> Self {
        let yaml = serde_norway::from_str(&read("infra/template.yaml")).expect("YAML");
        Self(plain(&yaml))
    }

    fn resources(&self) -> &Map<String, Value> {
        self.0["Resources"].as_object().expect("resources")
    }

    /// The functions: by the name of the binary, the name and content of the resource.
    pub(crate) fn functions(&self) -> BTreeMap<&str, (&str, &Value)> {
        let mut functions = BTreeMap::new();
        for (id, resource) in self.resources() {
            if resource["Type"] == "AWS::Serverless::Function" {
                let name = resource["Metadata"]["BuildProperties"]["Binary"].as_str();
                let name = name.unwrap_or_else(|| panic!("{id} names no binary"));
                let other = functions.insert(name, (id.as_str(), resource));
                assert!(other.is_none(), "{name} is two resources");
            }
        }
        functions
    }

    /// The variables of a function: its own, and the global ones.
    fn variables(&self, function: &Value) -> Map<String, Value> {
        let of = |value: &Value| {
            value["Environment"]["Variables"].as_object().cloned().unwrap_or_default()
        };
        let mut variables = of(&self.0["Globals"]["Function"]);
        variables.extend(of(&function["Properties"]));
        variables
    }
}

/// The Lambda functions that the code has, and the package of each.
fn binaries() -> BTreeMap<String, &'static str> {
    let mut binaries = BTreeMap::new();
    for package in ["functions", "worker"] {
        for entry in fs::read_dir(root().join(package).join("src/bin")).expect("binaries") {
            let name = entry.expect("a file").path();
            let name = name.file_stem().and_then(|name| name.to_str()).expect("UTF-8").to_owned();
            binaries.insert(name, package);
        }
    }
    binaries
}

#[test]
fn every_function_is_a_binary_and_every_binary_a_function() {
    let template = Template::read();
    let deployed: BTreeMap<String, String> = template
        .functions()
        .into_iter()
        .map(|(name, (id, resource))| {
            assert_eq!(resource["Metadata"]["BuildMethod"], "rust-cargolambda", "{id}");
            // Without it, new settings don't reach the live version.
            assert_eq!(resource["Properties"]["AutoPublishAliasAllProperties"], true, "{id}");
            assert_eq!(resource["DependsOn"] == "Migration", name != "migrate", "{id}");
            let code = resource["Properties"]["CodeUri"].as_str().unwrap_or_default();
            (name.to_owned(), code.trim_start_matches("../").to_owned())
        })
        .collect();
    let built: BTreeMap<String, String> =
        binaries().into_iter().map(|(name, package)| (name, package.to_owned())).collect();
    assert_eq!(deployed, built);
    let all = &template.0["Globals"]["Function"];
    assert_eq!(
        (&all["Runtime"], &all["Handler"]),
        (&json!("provided.al2023"), &json!("bootstrap"))
    );
    assert_eq!(all["Architectures"], json!(["arm64"]));
}

/// A deployment with values for parameters and resources, on a test's system.
struct Deployed<'a> {
    system: &'a System,
    manager: &'a SecretsManager,
    /// The conditions that hold.
    holding: BTreeSet<&'a str>,
    parameters: &'a Value,
}

impl Deployed<'_> {
    /// The value that `CloudFormation` resolves; `None` for `AWS::NoValue`.
    fn resolve(&self, value: &Value) -> Option<String> {
        let Some((name, argument)) = value.as_object().and_then(|object| object.iter().next())
        else {
            return Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        };
        match name.as_str() {
            "Fn::If" => {
                let holds = argument[0].as_str().is_some_and(|name| self.holding.contains(name));
                self.resolve(&argument[if holds { 1 } else { 2 }])
            }
            "Fn::Sub" => Some(self.fill(argument.as_str().expect("a text"))),
            "Fn::GetAtt" => Some(self.reference(argument.as_str().expect("an attribute"))),
            "Ref" if argument == "AWS::NoValue" => None,
            "Ref" => Some(self.reference(argument.as_str().expect("a name"))),
            other => panic!("{other} in an environment"),
        }
    }

    fn fill(&self, text: &str) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').expect("a closed brace");
            filled = format!("{filled}{before}{}", self.reference(name));
            rest = after;
        }
        filled + rest
    }

    fn reference(&self, name: &str) -> String {
        let login = |role: &str| {
            let options: sqlx::postgres::PgConnectOptions =
                self.system.database_url().parse().expect("a URL");
            let password = self
                .system
                .database_url()
                .split(':')
                .nth(2)
                .and_then(|rest| rest.split('@').next());
            json!({ "username": options.get_username(), "password": password, "role": role })
                .to_string()
        };
        let secret = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        match name {
            "ApiLogin" | "WorkerLogin" | "Cluster.MasterUserSecret.SecretArn" => {
                self.manager.keep(&name.replace('.', ""), &login(name))
            }
            "HostSecret" | "LinkKeys" => self.manager.keep(name, secret),
            "DatabaseSecretArn" => self.manager.keep("own", &login("owner")),
            "Jobs" => self.system.stack.sqs.queue_url.clone(),
            "DatabaseUrl" => "postgres://127.0.0.1:5432/kinline?sslmode=disable".to_owned(),
            "Proxy.Endpoint" => "kinline.proxy.example".to_owned(),
            "DomainName" => "kin.example".to_owned(),
            "AuthJwksUrl" => "https://id.example/jwks.json".to_owned(),
            "SmsRegions" => "US,CA".to_owned(),
            "AuthIssuer" | "AuthAudience" => "https://id.example".to_owned(),
            "AWS::StackName" => "kinline".to_owned(),
            parameter => {
                let default = &self.parameters[parameter]["Default"];
                assert!(!default.is_null(), "{parameter} needs a value here");
                default.as_str().map_or_else(|| default.to_string(), str::to_owned)
            }
        }
    }
}

#[tokio::test]
async fn every_function_starts_with_its_variables_and_reads_each() {
    let system = System::start().await;
    let manager = SecretsManager::start().await;
    let template = Template::read();
    let code: String = ["shared/platform/src", "shared/src", "functions/src", "worker/src"]
        .into_iter()
        .map(sources)
        .collect();
    let ways: [&[&str]; 2] = [
        &["HasAurora", "HasHostSecretForAll"],
        &["HasJwks", "HasIssuer", "HasAudience", "HasOwnSubnets", "HasRegions"],
    ];
    for way in ways {
        let holding = way.iter().copied().collect();
        let deployed = Deployed {
            system: &system,
            manager: &manager,
            holding,
            parameters: &template.0["Parameters"],
        };
        for (name, (id, resource)) in template.functions() {
            let mut environment =
                vec![("AWS_ENDPOINT_URL_SECRETS_MANAGER", manager.endpoint.clone())];
            let variables = template.variables(resource);
            for (variable, value) in &variables {
                let known = code.contains(&format!("\"{variable}\""));
                assert!(known, "{id} gets {variable}, which no code reads");
                environment.extend(deployed.resolve(value).map(|value| (variable.as_str(), value)));
            }
            let function = Function::start(&binary(name), &environment).await;
            let event = match name {
                "worker" => sqs_event(&[]),
                "sweeper" => schedule_event(),
                "migrate" => json!({ "RequestType": "Delete" }),
                _ => http_event("GET", "/nowhere", &[], None),
            };
            let answer = function.invoke(&event, TIMEOUT).await;
            match (name, answer) {
                // It has started, and there is no such database.
                ("sweeper", Err(tests::lambda::FunctionError::Handler(_)))
                | ("worker" | "migrate", Ok(_)) => {}
                (_, Ok(answer)) if HttpAnswer::from_gateway(&answer).status == 404 => {}
                (_, answer) => panic!("{id} does not work: {answer:?}\n{}", function.log()),
            }
        }
    }
}

/// All Rust sources in a folder, concatenated.
fn sources(folder: &str) -> String {
    let mut all = String::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                // Unit tests may use clients that the product does not.
                let source = fs::read_to_string(path).expect("a source");
                all += source.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            }
        }
    }
    all
}

/// Granted or needed permissions: an action on a resource of the template.
type Grants = BTreeSet<(String, String)>;

/// The permissions that a function needs, by the variables that its `main` reads.
fn needs(name: &str, package: &str) -> Grants {
    let main = read(format!("{package}/src/bin/{name}.rs"));
    let reads = |what: &str| main.contains(what);
    let mut needs = Grants::new();
    let mut need = |action: &str, resource: &str| {
        needs.insert((action.to_owned(), resource.to_owned()));
        if action == "secretsmanager:GetSecretValue" {
            needs.insert(("kms:Decrypt".to_owned(), "Key".to_owned()));
        }
    };
    let secret = "secretsmanager:GetSecretValue";
    if reads("Api::from_env") {
        need(secret, "ApiLogin");
        need(secret, "HostSecret");
    }
    if reads("Database::from_env") {
        need(secret, if package == "worker" { "WorkerLogin" } else { "ApiLogin" });
    }
    if reads("LinkKeys::from_env") {
        need(secret, "LinkKeys");
    }
    if reads("Queue::from_env") {
        need("sqs:SendMessage", "Jobs");
    }
    if reads("Worker::from_env") {
        need(secret, "WorkerLogin");
        need(secret, "LinkKeys");
        need("sns:Publish", "numbers");
        // The event source mapping receives with its role.
        for action in ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"] {
            need(action, "Jobs");
        }
    }
    if reads("migrate::answer") {
        for login in ["owner", "ApiLogin", "WorkerLogin"] {
            need(secret, login);
        }
    }
    needs
}

/// The permissions that a function's policies grant.
fn granted(template: &Template, function: &Value) -> Grants {
    let mut grants = Grants::new();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
    for policy in function["Properties"]["Policies"].as_array().into_iter().flatten() {
        let policy = policy["Ref"].as_str().expect("policies are resources");
        let document = &template.resources()[policy]["Properties"]["PolicyDocument"];
        for statement in document["Statement"].as_array().expect("statements") {
            assert_eq!(statement["Effect"], "Allow", "{policy}");
            for action in list(&statement["Action"]) {
                let action = action.as_str().expect("an action").to_owned();
                assert!(!action.contains('*'), "{policy}: {action}");
                if let Some(topics) = statement.get("NotResource") {
                    // Everything but resources with an ARN: phone numbers.
                    let all = json!({ "Fn::Sub": "arn:${AWS::Partition}:sns:*:*:*" });
                    assert_eq!((action.as_str(), topics), ("sns:Publish", &all), "{policy}");
                    grants.insert((action, "numbers".to_owned()));
                    continue;
                }
                for resource in list(&statement["Resource"]) {
                    grants.insert((action.clone(), named(&resource)));
                }
            }
        }
    }
    grants
}

/// The resource of the template that an ARN in a policy belongs to.
fn named(resource: &Value) -> String {
    let attribute = resource["Fn::GetAtt"].as_str().and_then(|name| name.strip_suffix(".Arn"));
    let one_of = &resource["Fn::If"];
    match (resource["Ref"].as_str(), attribute, one_of[1]["Fn::GetAtt"].as_str()) {
        (Some(name), _, _) | (_, Some(name), _) => name.to_owned(),
        // The owner's secret is the cluster's or one that was brought, and so is its key.
        (_, _, Some("Cluster.MasterUserSecret.SecretArn")) => "owner".to_owned(),
        (_, _, Some("Key.Arn")) => "Key".to_owned(),
        _ => panic!("{resource} is no resource of the template"),
    }
}

#[test]
fn the_policies_grant_exactly_the_actions_of_the_code() {
    let template = Template::read();
    for (name, package) in binaries() {
        let functions = template.functions();
        let (id, resource) = functions[name.as_str()];
        assert_eq!(granted(&template, resource), needs(&name, package), "{id}");
    }
    // Every call of AWS in the code: a new one has to be added to `needs`.
    let code: String = ["shared/platform/src", "shared/src", "functions/src", "worker/src"]
        .into_iter()
        .map(sources)
        .collect();
    let clients: BTreeSet<&str> = code
        .split("aws_sdk_")
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default())
        .collect();
    assert_eq!(clients, BTreeSet::from(["sns", "sqs"]));
    for call in [".publish()", ".send_message_batch()"] {
        assert!(code.contains(call), "{call}");
    }
    // The call that is signed without an SDK.
    let signed: Vec<&str> = code.split("\"x-amz-target\", \"").skip(1).collect();
    assert_eq!(signed.len(), 1);
    assert!(signed[0].starts_with("secretsmanager.GetSecretValue\""));
}

#[test]
fn the_queues_visibility_timeout_fits_the_worker() {
    let template = Template::read();
    let functions = template.functions();
    let jobs = &template.resources()["Jobs"]["Properties"];
    let dead = &template.resources()["DeadLetters"]["Properties"];
    let worker = &functions["worker"].1["Properties"];
    let seconds = |value: &Value| value.as_u64().expect("a number");
    assert_eq!(seconds(&worker["Timeout"]), local::sqs::WORKER_TIMEOUT.as_secs());
    assert!(seconds(&jobs["VisibilityTimeout"]) >= 6 * seconds(&worker["Timeout"]));
    assert_eq!(jobs["RedrivePolicy"]["maxReceiveCount"], 5);
    assert_eq!(
        jobs["RedrivePolicy"]["deadLetterTargetArn"],
        json!({ "Fn::GetAtt": "DeadLetters.Arn" })
    );
    for queue in [jobs, dead] {
        assert_eq!(queue["MessageRetentionPeriod"], 14 * 24 * 60 * 60);
        assert_eq!(queue["SqsManagedSseEnabled"], true);
    }
    let source = &template.resources()["JobsToWorker"]["Properties"];
    assert_eq!(source["FunctionResponseTypes"], json!(["ReportBatchItemFailures"]));
    assert_eq!(source["BatchSize"], 10);
}

#[test]
fn every_watched_metric_is_counted_by_the_code() {
    let template = Template::read();
    let code: String = ["shared/platform/src", "shared/src", "functions/src", "worker/src"]
        .into_iter()
        .map(sources)
        .collect();
    let mut watched = BTreeSet::new();
    let ours = |metric: &Value| metric["Namespace"]["Fn::Sub"] == "Kinline/${AWS::StackName}";
    for resource in template.resources().values() {
        let alarm = &resource["Properties"];
        let parts = alarm["Metrics"].as_array().into_iter().flatten();
        let parts = parts.map(|part| &part["MetricStat"]["Metric"]);
        for metric in parts.chain([alarm]).filter(|metric| ours(metric)) {
            watched.insert(metric["MetricName"].as_str().expect("a name"));
        }
    }
    assert!(watched.contains("OutboxAgeSeconds") && watched.len() >= 5, "{watched:?}");
    for name in watched {
        assert!(code.contains(&format!("!(\"{name}\")")), "the code does not count {name}");
    }
}

#[test]
fn failures_and_throttles_of_every_function_are_in_an_alarm() {
    let template = Template::read();
    let mut alarmed: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut failing = BTreeSet::new();
    for (id, resource) in template.resources() {
        let parts: Vec<&Value> =
            resource["Properties"]["Metrics"].as_array().into_iter().flatten().collect();
        let metrics: Vec<&Value> = parts
            .iter()
            .map(|part| &part["MetricStat"]["Metric"])
            .filter(|metric| metric["Namespace"] == "AWS/Lambda")
            .collect();
        // CloudWatch's limit for one alarm.
        assert!(metrics.len() <= 10, "{id}");
        for metric in metrics {
            let name = metric["MetricName"].as_str().expect("a name");
            let dimension = &metric["Dimensions"][0];
            assert_eq!(dimension["Name"], "FunctionName", "{id}");
            let function = dimension["Value"]["Ref"].as_str().expect("a resource");
            alarmed.entry(name).or_default().push(function);
            if name == "Errors" {
                failing.insert(id.as_str());
            }
        }
    }
    let functions = template.functions();
    // A migration that fails stops the deployment and is reported there.
    let watched = functions.iter().filter(|(name, _)| **name != "migrate").map(|(_, (id, _))| *id);
    let mut watched: Vec<&str> = watched.collect();
    watched.sort_unstable();
    for name in ["Errors", "Throttles"] {
        let mut found = alarmed.remove(name).expect("an alarm");
        found.sort_unstable();
        assert_eq!(found, watched, "{name}");
    }
    // Each alarm on failures rolls new code back.
    let rollout = &template.0["Globals"]["Function"]["DeploymentPreference"]["Alarms"];
    let rollout: BTreeSet<&str> = rollout
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|alarm| alarm["Ref"].as_str())
        .collect();
    assert!(failing.len() == 2 && failing.is_subset(&rollout), "{failing:?} {rollout:?}");
}

#[test]
fn the_access_log_has_no_secrets_or_personal_data() {
    let template = Template::read();
    let api = &template.resources()["Api"]["Properties"];
    let format = api["AccessLogSettings"]["Format"].as_str().expect("a format");
    let logged: Value = serde_json::from_str(format).expect("a line of it is JSON");
    assert_eq!(logged["routeKey"], "$context.routeKey");
    for never in ["path", "query", "sourceIp", "userAgent", "authorizer", "header", "identity"] {
        assert!(!format.to_lowercase().contains(&never.to_lowercase()), "{never}");
    }
}
