//! `run`: the daemon. It judges one window after the other as `check` judges its only one, follows
//! the devices as they come and go, tells what changes on stdout, and answers scrapers.

mod dropped;
mod live;
mod tell;
mod watch;
mod window;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    time::timeout,
};
use tracer::{
    daemon::{http, privileges},
    kernel::{self, StartError},
    process,
};

use self::{tell::Teller, watch::Watch};
use super::{Failure, Status, not_built, not_started, observe::Stop, unobserved};
use crate::cli::RunArgs;

/// How long open requests and unread events may hold up the end.
const DRAIN: Duration = Duration::from_secs(3);
/// Questions that wait for the loop.
const QUESTIONS: usize = 16;

pub(crate) fn run(args: &RunArgs) -> Result<Status, Failure> {
    if let Some(option) = args.later.first() {
        return Err(not_built(option));
    }
    kernel::require_kernel(&process::kernel_release()).map_err(unobserved)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the clock")
        .map_err(not_started)?;
    runtime.block_on(serve(args))
}

async fn serve(args: &RunArgs) -> Result<Status, Failure> {
    // Before anything is attached: from here on a signal cannot leave a filter behind.
    let mut stop = Stop::new().context("listening for signals").map_err(not_started)?;
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("listening on {}; choose another with --listen", args.listen))
        .map_err(not_started)?;
    let mut watch = Watch::start(args).await?;
    privileges::keep_only_needed().map_err(not_started)?;
    let (teller, told) = Teller::start(args.format);
    watch.tell_to(teller);
    say_what_is_bound(&watch, &listener);

    let (sender, mut questions) = mpsc::channel(QUESTIONS);
    let (end, ended) = oneshot::channel::<()>();
    let server = tokio::spawn(http::serve(listener, sender, async {
        // An end without a word is an end too.
        let _ = ended.await;
    }));
    let started = Instant::now();
    let ended = watch.run(&mut stop, &mut questions).await;

    let hooks = watch.end();
    drop(end);
    drop(questions);
    let drained = timeout(DRAIN, server).await.is_ok() & told.wait(DRAIN);
    say_how_it_ended(&ended, started.elapsed(), hooks, drained);
    ended.map(|_| Status::Fine).map_err(not_started)
}

fn say_what_is_bound(watch: &Watch<'_>, listener: &TcpListener) {
    let address = listener.local_addr().map_or_else(|error| error.to_string(), |it| it.to_string());
    tracing::info!("serving /metrics, /healthz and /readyz on {address}");
    for hook in watch.hooks() {
        let (interface, direction) = (&hook.interface, hook.direction);
        tracing::info!("{interface} {direction:?}: {}", hook.because);
    }
}

fn say_how_it_ended(
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

/// Without privileges or with a kernel that refuses, 2; else 1.
fn start_failure(error: StartError) -> Failure {
    match error {
        StartError::Refused(_) => unobserved(error),
        StartError::Other(error) => not_started(error),
    }
}
