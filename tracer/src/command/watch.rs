//! `watch`: the daemon's loop for a person or a script that reads: drops and findings as they come,
//! until it is stopped, its time is over or nobody reads any more. Nothing listens.

use std::{
    future,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::{sync::mpsc, time::sleep};
use tracer::daemon::privileges;

use super::{
    Failure, Status, not_built, not_started,
    observe::Stop,
    rounds::{self, DRAIN, Reader, Rounds, Teller, Told, Wanted},
    run::say_how_it_ended,
};
use crate::cli::WatchArgs;

pub(crate) fn run(args: &WatchArgs) -> Result<Status, Failure> {
    if let Some(option) = args.look.later.first() {
        return Err(not_built(option));
    }
    rounds::block_on(stream(args))
}

async fn stream(args: &WatchArgs) -> Result<Status, Failure> {
    // Before anything is attached: from here on a signal cannot leave a filter behind.
    let mut stop = Stop::new().context("listening for signals").map_err(not_started)?;
    let mut rounds = Rounds::start(wanted(args)).await?;
    privileges::keep_only_needed().map_err(not_started)?;
    let (teller, mut written) =
        Teller::start(args.format, Reader::Person, args.samples.sample.is_some());
    rounds.tell_to(teller);
    tracing::info!("watching from now on");
    rounds.say_where();

    // Nobody asks.
    let (_, mut questions) = mpsc::channel(1);
    let started = Instant::now();
    let until = async {
        tokio::select! {
            signal = stop.signal() => Ok(signal),
            gone = written.reader_has_gone() => {
                gone.map(|()| "the reader went").context("writing events to stdout")
            }
            () = time(args.duration) => Ok("the time is over"),
        }
    };
    let ended = rounds.run(until, &mut questions).await;

    let hooks = rounds.end();
    let drained = written.wait(DRAIN).await;
    say_how_it_ended(&ended, started.elapsed(), hooks, drained);
    ended.map(|_| Status::Fine).map_err(not_started)
}

fn wanted(args: &WatchArgs) -> Wanted<'_> {
    Wanted {
        look: &args.look,
        // They are for scrapers.
        top_flows: 0,
        samples: args.samples,
        told: Told::Drops(args.flow.as_ref()),
    }
}

/// Passes when it is over, or never.
async fn time(duration: Option<Duration>) {
    match duration {
        Some(duration) => sleep(duration).await,
        None => future::pending().await,
    }
}
