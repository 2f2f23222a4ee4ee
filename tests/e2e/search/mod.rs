//! An exhaustive search of delivery: one thread, one recipient, two workers, a sweeper, and a queue that loses
//! and repeats. Every order of posts, reads, mutes, opt-outs, leaving and deletions, with crashes anywhere,
//! ambiguous sends and expired leases.
//!
//! The rules are those of the product: every step is the real function on real rows, executed once for each
//! state of the rows.

mod due;
mod oracle;
mod promises;
mod rows;
mod world;

use std::collections::{HashMap, HashSet};

use tokio::task::JoinSet;

use self::{
    oracle::{After, Broken, Oracle, Step},
    rows::{Rows, State},
    world::{Act, Bounds, Deed, World},
};

/// Databases, each with a step at a time.
const LANES: usize = 2;

type Question = (Rows, Step, Option<Broken>);

/// What the product does with rows, as far as it was asked.
struct Answers {
    lanes: Vec<Oracle>,
    known: HashMap<Question, After>,
}

impl Answers {
    async fn new() -> Self {
        let lanes = futures_util::future::join_all((0..LANES).map(|_| Oracle::new())).await;
        Self { lanes, known: HashMap::new() }
    }

    async fn ask(&mut self, questions: HashSet<Question>) {
        let mut shares = vec![Vec::new(); self.lanes.len()];
        for (i, question) in questions.into_iter().enumerate() {
            shares[i % LANES].push(question);
        }
        let mut running = JoinSet::new();
        for (mut oracle, share) in self.lanes.drain(..).zip(shares) {
            running.spawn(async move {
                let mut answers = Vec::with_capacity(share.len());
                for (rows, step, broken) in share {
                    answers.push(((rows, step, broken), oracle.after(rows, step, broken).await));
                }
                (oracle, answers)
            });
        }
        while let Some(done) = running.join_next().await {
            let (oracle, answers) = done.expect("answers");
            self.lanes.push(oracle);
            self.known.extend(answers);
        }
    }
}

/// The rule, if it is one that this step follows.
fn in_force(broken: Option<Broken>, step: Step) -> Option<Broken> {
    broken.filter(|broken| match broken {
        Broken::OpenSmsTrusted | Broken::QueueTrusted => step == Step::WakeMembers,
        Broken::CoverStretched => matches!(step, Step::Claim(_)),
        Broken::DeletionCancels => matches!(step, Step::Delete(_)),
        Broken::StartKeepsFloor => step == Step::On,
        Broken::ExpiredLeaseRetried => step == Step::ExpireLeases,
        Broken::TimeoutRetried => matches!(step, Step::Record(..)),
        // Not in what the rows do.
        Broken::OneStatementSweep | Broken::UnreadLowersMark | Broken::SdkRetries => false,
    })
}

/// What a search found.
struct Found {
    worlds: Vec<World>,
    /// The first broken promise, with the acts that lead to it.
    broken: Option<(&'static str, Vec<Act>)>,
}

/// All worlds that can be reached, or the first with a broken promise.
async fn search(answers: &mut Answers, bounds: Bounds) -> Found {
    let start = World::start(&bounds);
    let mut ids = HashMap::from([(start, 0_usize)]);
    let mut worlds = vec![start];
    let mut parents: Vec<Option<(usize, Act)>> = vec![None];
    // Who comes to each world by progress.
    let mut sources: Vec<Vec<usize>> = vec![Vec::new()];
    let mut frontier = vec![0];
    let trace = |parents: &[Option<(usize, Act)>], mut at: usize, last: Option<Act>| {
        let mut acts = Vec::from_iter(last);
        while let Some((parent, act)) = parents[at] {
            acts.push(act);
            at = parent;
        }
        acts.reverse();
        acts
    };
    while !frontier.is_empty() {
        let mut missing = HashSet::new();
        let mut followers = Vec::with_capacity(frontier.len());
        for &id in &frontier {
            let mut look = |rows, step| {
                let question = (rows, step, in_force(bounds.broken, step));
                let known = answers.known.get(&question).copied();
                if known.is_none() {
                    missing.insert(question);
                }
                known
            };
            let (next, is_complete) = worlds[id].next(&bounds, &mut look);
            followers.push((id, is_complete.then_some(next)));
        }
        answers.ask(missing).await;
        let mut reached = Vec::new();
        for (id, next) in followers {
            let mut look = |rows, step| {
                answers.known.get(&(rows, step, in_force(bounds.broken, step))).copied()
            };
            let next = next.unwrap_or_else(|| worlds[id].next(&bounds, &mut look).0);
            for next in next {
                if let Some(flaw) = next.flaw {
                    let acts = trace(&parents, id, Some(next.act));
                    return Found { worlds, broken: Some((flaw, acts)) };
                }
                let to = *ids.entry(next.world).or_insert_with(|| {
                    worlds.push(next.world);
                    parents.push(Some((id, next.act)));
                    sources.push(Vec::new());
                    reached.push(worlds.len() - 1);
                    worlds.len() - 1
                });
                if next.progress {
                    sources[to].push(id);
                }
            }
        }
        for &id in &reached {
            if let Some(promise) = worlds[id].broken_promise() {
                let acts = trace(&parents, id, None);
                return Found { worlds, broken: Some((promise, acts)) };
            }
        }
        frontier = reached;
    }
    // From everywhere, by progress alone, to where all that is owed was tried.
    let mut settles: Vec<bool> = worlds.iter().map(World::is_settled).collect();
    let mut open: Vec<usize> = (0..worlds.len()).filter(|&id| settles[id]).collect();
    while let Some(id) = open.pop() {
        for &source in &sources[id] {
            if !settles[source] {
                settles[source] = true;
                open.push(source);
            }
        }
    }
    let stuck = settles.iter().position(|settles| !settles);
    let broken = stuck.map(|id| ("owed, and never tried", trace(&parents, id, None)));
    Found { worlds, broken }
}

fn told(found: &Found) -> String {
    found.broken.as_ref().map_or_else(String::new, |(promise, acts)| {
        let acts: Vec<String> = acts.iter().map(|act| format!("  {act:?}")).collect();
        format!("{promise}:\n{}", acts.join("\n"))
    })
}

const fn bounds(messages: u8, events: u8, deeds: &'static [Deed]) -> Bounds {
    Bounds { messages, events, deeds, broken: None, exact: false }
}

/// The searches of each run, and those of the longer form.
const SHORT: [Bounds; 5] = [
    bounds(2, 2, &[Deed::Read, Deed::Delete]),
    bounds(2, 2, &[Deed::Leave]),
    bounds(2, 2, &[Deed::Stop]),
    bounds(2, 2, &[Deed::Mute]),
    bounds(2, 1, &[Deed::Days]),
];
const LONG: [Bounds; 8] = [
    Bounds { exact: true, ..bounds(2, 1, &[Deed::Read, Deed::Delete, Deed::Mute, Deed::Days]) },
    Bounds { exact: true, ..bounds(2, 2, &[Deed::Leave]) },
    Bounds { exact: true, ..bounds(2, 2, &[Deed::Stop]) },
    bounds(2, 2, &[Deed::Read, Deed::Delete, Deed::Mute, Deed::Stop, Deed::Leave, Deed::Days]),
    bounds(3, 2, &[Deed::Read, Deed::Delete]),
    bounds(3, 2, &[Deed::Leave]),
    bounds(3, 2, &[Deed::Mute, Deed::Stop]),
    bounds(2, 3, &[Deed::Read, Deed::Delete, Deed::Mute, Deed::Stop, Deed::Leave, Deed::Days]),
];

/// With `KINLINE_TEST_SEARCH=long` the longer form, of many minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_order_of_events_breaks_a_promise() {
    let long = std::env::var("KINLINE_TEST_SEARCH").is_ok_and(|form| form == "long");
    let mut answers = Answers::new().await;
    let mut seen = HashSet::new();
    for bounds in SHORT.iter().chain(LONG.iter().filter(|_| long)) {
        let began = std::time::Instant::now();
        let found = search(&mut answers, *bounds).await;
        eprintln!(
            "{:?}: {} worlds, {} steps of the product so far, {:.1?}",
            bounds.deeds,
            found.worlds.len(),
            answers.known.len(),
            began.elapsed()
        );
        assert!(found.broken.is_none(), "{:?} {}", bounds.deeds, told(&found));
        seen.extend(found.worlds.iter().flat_map(|world| world.rows.sms()).map(|(_, s)| s.state));
    }
    // Every state of an SMS was reached.
    let all = [
        State::Pending,
        State::Sending,
        State::Sent,
        State::Unknown,
        State::Failed,
        State::Suppressed,
        State::Cancelled,
    ];
    assert!(all.iter().all(|state| seen.contains(state)), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_search_finds_each_broken_rule() {
    let mut answers = Answers::new().await;
    let cases: [(Broken, u8, u8, &'static [Deed]); 10] = [
        (Broken::OneStatementSweep, 2, 0, &[]),
        (Broken::OpenSmsTrusted, 2, 0, &[]),
        (Broken::QueueTrusted, 1, 0, &[]),
        (Broken::CoverStretched, 3, 2, &[Deed::Leave]),
        (Broken::DeletionCancels, 2, 1, &[Deed::Delete]),
        (Broken::UnreadLowersMark, 1, 2, &[Deed::Read, Deed::Unread]),
        (Broken::StartKeepsFloor, 1, 2, &[Deed::Stop]),
        (Broken::ExpiredLeaseRetried, 1, 0, &[]),
        (Broken::TimeoutRetried, 1, 0, &[]),
        (Broken::SdkRetries, 1, 0, &[]),
    ];
    for (broken, messages, events, deeds) in cases {
        let began = std::time::Instant::now();
        let bounds = Bounds { messages, events, deeds, broken: Some(broken), exact: false };
        let found = search(&mut answers, bounds).await;
        eprintln!(
            "{broken:?}: {} worlds, {} steps so far, {:.1?}; {}",
            found.worlds.len(),
            answers.known.len(),
            began.elapsed(),
            told(&found)
        );
        assert!(found.broken.is_some(), "{broken:?} goes unnoticed");
    }
}
