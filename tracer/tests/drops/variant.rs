//! Which program a kernel allows, and what is said when it is not the richest.

use tracer::{
    evidence::CapabilityState::{Degraded, On},
    kernel::{DropOptions, DropVariant, drop_capabilities},
};

use crate::node::{Node, is_confidential, kernel};

#[test]
fn the_richest_program_that_the_kernel_allows_counts_and_a_lesser_one_says_why() {
    let node = Node::new("", DropOptions::default());
    let session = node.session();
    let capabilities = drop_capabilities(Ok(session));
    let states: Vec<_> = capabilities.iter().map(|it| (it.feature.as_str(), it.state)).collect();
    if is_confidential() {
        assert_eq!(session.variant(), DropVariant::Places);
        let because = session.because().unwrap();
        assert!(because.contains("lockdown=confidentiality"), "{because}");
        assert!(capabilities[1].because.starts_with(because), "{capabilities:?}");
        assert_eq!(states, [("drops", On), ("drop-flows", Degraded)]);
    } else {
        assert_eq!((session.variant(), session.because()), (DropVariant::Packets, None));
        assert_eq!(states, [("drops", On), ("drop-flows", On)]);
    }
    let has_reasons = !capabilities[0].because.contains("gives no reasons");
    assert_eq!(has_reasons, kernel() >= (5, 17), "{capabilities:?}");
}
