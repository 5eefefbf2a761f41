//! `run`: the daemon. It judges one window after the other as `check` judges its only one, follows
//! the devices as they come and go, tells what changes on stdout, and answers scrapers.

use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    time::timeout,
};
use tracer::daemon::{http, privileges};

use super::{
    Failure, Status, not_built, not_started,
    observe::Stop,
    rounds::{self, DRAIN, Reader, Rounds, Teller, Told, Wanted},
    usage,
};
use crate::cli::RunArgs;

/// Questions that wait for the loop.
const QUESTIONS: usize = 16;

pub(crate) fn run(args: &RunArgs) -> Result<Status, Failure> {
    if let Some(option) = args.look.later.first() {
        return Err(not_built(option));
    }
    if args.flow.is_some() {
        return Err(usage(anyhow!(
            "--flow is for watch and check: run's metrics are of all flows"
        )));
    }
    rounds::block_on(serve(args))
}

async fn serve(args: &RunArgs) -> Result<Status, Failure> {
    // Before anything is attached: from here on a signal cannot leave a filter behind.
    let mut stop = Stop::new().context("listening for signals").map_err(not_started)?;
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("listening on {}; choose another with --listen", args.listen))
        .map_err(not_started)?;
    let mut rounds = Rounds::start(wanted(args)).await?;
    privileges::keep_only_needed().map_err(not_started)?;
    let (teller, written) = Teller::start(args.format, Reader::Log, args.samples.sample.is_some());
    rounds.tell_to(teller);
    say_what_is_bound(&rounds, &listener);

    let (sender, mut questions) = mpsc::channel(QUESTIONS);
    let (end, ended) = oneshot::channel::<()>();
    let server = tokio::spawn(http::serve(listener, sender, async {
        // An end without a word is an end too.
        let _ = ended.await;
    }));
    let started = Instant::now();
    let ended = rounds.run(async { Ok(stop.signal().await) }, &mut questions).await;

    let hooks = rounds.end();
    drop(end);
    drop(questions);
    let drained = timeout(DRAIN, server).await.is_ok() & written.wait(DRAIN).await;
    say_how_it_ended(&ended, started.elapsed(), hooks, drained);
    ended.map(|_| Status::Fine).map_err(not_started)
}

fn wanted(args: &RunArgs) -> Wanted<'_> {
    Wanted {
        look: &args.look,
        top_flows: args.top_flows,
        samples: args.samples,
        told: Told::Changes,
    }
}

fn say_what_is_bound(rounds: &Rounds<'_>, listener: &TcpListener) {
    let address = listener.local_addr().map_or_else(|error| error.to_string(), |it| it.to_string());
    tracing::info!("serving /metrics, /healthz and /readyz on {address}");
    rounds.say_where();
}

/// How it ended, on stderr.
pub(super) fn say_how_it_ended(
    ended: &anyhow::Result<&'static str>,
    after: Duration,
    hooks: usize,
    drained: bool,
) {
    let seconds = after.as_secs();
    match ended {
        Ok(signal) => tracing::info!("{signal} after {seconds} s: detached from {hooks} hooks"),
        Err(error) => tracing::error!("ended after {seconds} s: {error:#}"),
    }
    if !drained {
        tracing::warn!("what a reader or a client did not take within {DRAIN:?} is lost");
    }
}
