//! The programs: entry, one attempt over the linear part, one over a copy, one place where an
//! error becomes a counter. They return the same verdict on every path: "go on".

mod account;
mod dns;
mod look;
mod plain;
mod uplink;

use aya_ebpf::{EbpfContext as _, macros::classifier, programs::TcContext};
use tracer_common::{
    counter::{Counter, ParseError},
    stage::{OVERLAY_IN, OVERLAY_OUT, POD_IN, POD_OUT, WIRE_IN},
};

use tracer_ebpf::parse::Stop;

use crate::{
    counters,
    packet::{Copied, Linear, Skb},
    samples, sights,
};

/// TC_ACT_UNSPEC and TCX_NEXT alike: the next program in the chain decides. TC_ACT_OK would end
/// the chain and hide the packet from programs after us.
const NEXT: i32 = -1;

// The macro makes each of these two functions, of which the outer one calls the inner one. Inlining
// is spelled out: a call costs a packet that is not ours more than all the rest.

#[classifier]
#[inline(always)]
fn pod_out(context: TcContext) -> i32 {
    run::<plain::Plain<POD_OUT>>(&context)
}

#[classifier]
#[inline(always)]
fn overlay_out(context: TcContext) -> i32 {
    run::<plain::Plain<OVERLAY_OUT>>(&context)
}

#[classifier]
#[inline(always)]
fn overlay_in(context: TcContext) -> i32 {
    run::<plain::Plain<OVERLAY_IN>>(&context)
}

#[classifier]
#[inline(always)]
fn pod_in(context: TcContext) -> i32 {
    run::<plain::Plain<POD_IN>>(&context)
}

#[classifier]
#[inline(always)]
fn wire_out(context: TcContext) -> i32 {
    run::<uplink::Out<true>>(&context)
}

#[classifier]
#[inline(always)]
fn wire_out_l3(context: TcContext) -> i32 {
    run::<uplink::Out<false>>(&context)
}

#[classifier]
#[inline(always)]
fn wire_in(context: TcContext) -> i32 {
    run::<uplink::In<true>>(&context)
}

#[classifier]
#[inline(always)]
fn wire_in_l3(context: TcContext) -> i32 {
    run::<uplink::In<false>>(&context)
}

/// What a stage does with a packet, over either kind of bytes.
///
/// It goes on in the program that looks closely where it finds a packet rare, and hands up no word of
/// it: with one the compiler would merge results and errors so that the verifier, without
/// CAP_PERFMON, takes one for a pointer.
trait Observer {
    /// The stage whose parse errors these are.
    const STAGE: usize;
    /// Which program looks closely, by its number in [`tracer_common::names::LOOKS`].
    const CLOSER: u32;

    /// Over the linear part.
    fn linear(skb: Skb, packet: &Linear) -> Result<(), Stop>;

    /// Over a copy.
    fn copied(skb: Skb, packet: &Copied) -> Result<(), Stop>;
}

#[inline(always)]
fn run<O: Observer>(context: &TcContext) -> i32 {
    let skb = Skb(context.as_ptr().cast());
    match O::linear(skb, &skb.linear()) {
        Ok(()) => {}
        Err(Stop::Layout) => from_copy::<O>(skb),
        Err(Stop::Malformed(error)) if error.is_truncation() => from_copy::<O>(skb),
        Err(Stop::Malformed(error)) => malformed::<O>(skb, error),
    }
    samples::finish(skb);
    NEXT
}

/// The linear part ended inside a header (seen on TUN devices with offloads: it ends after the
/// outer UDP header), or the headers lie elsewhere than usual: the same parser runs over a copy.
/// A packet that really ends there ends there in the copy too.
#[inline(always)]
fn from_copy<O: Observer>(skb: Skb) {
    counters::add(Counter::SlowParse);
    // A copy knows no other layout, so that arm is never taken.
    if let Err(Stop::Malformed(error)) = O::copied(skb, &skb.copied()) {
        malformed::<O>(skb, error);
    }
}

/// Counts it. Who sends VXLAN without a VNI is worth a look.
#[inline(always)]
fn malformed<O: Observer>(skb: Skb, error: ParseError) {
    let before = counters::add_parse_error(O::STAGE, error);
    if O::STAGE == WIRE_IN && error == ParseError::VxlanFlags {
        sights::look_closer(skb, O::CLOSER);
    }
    samples::malformed(skb, O::STAGE, error, before);
}
