//! clsact and its filters, ours beside those of others.

use std::{
    num::NonZeroU32,
    os::{
        fd::{AsFd, FromRawFd, OwnedFd},
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    thread,
};

use tracer::{
    evidence::HookDirection::{Egress, Ingress},
    netlink::traffic_control::{
        ClsactFilter, EGRESS_PRIORITY, FILTER_NAME, INGRESS_PRIORITY, Slot, add_filter,
        delete_clsact_if_empty, delete_filter, ensure_clsact, list_filters, priority,
        remove_leftovers,
    },
};

use crate::namespace::Namespace;

/// The loopback device of a fresh namespace.
const LO: u32 = 1;

const BPF_PROG_LOAD: i64 = 5;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;

/// The beginning of `union bpf_attr` for BPF_PROG_LOAD (include/uapi/linux/bpf.h).
#[repr(C)]
struct LoadProgram {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log: [u64; 2],
}

/// A program that returns -1 (TC_ACT_UNSPEC): the next filter decides.
fn program() -> OwnedFd {
    // r0 = -1; exit
    let instructions: [u64; 2] = [0xffff_ffff_0000_00b7, 0x95];
    let attributes = LoadProgram {
        program_type: BPF_PROG_TYPE_SCHED_CLS,
        instruction_count: 2,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log: [0; 2],
    };
    // SAFETY: the attributes and what they point to live until the call returns; the kernel reads
    // no more than the size given.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &attributes, size_of::<LoadProgram>())
    };
    assert!(fd >= 0, "bpf: {}", std::io::Error::last_os_error());
    // SAFETY: the call has just made this descriptor and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap()) }
}

/// A filter as the tracer adds it; the namespace keeps it when the program's descriptor is gone.
fn add(direction: tracer::evidence::HookDirection, handle: NonZeroU32) {
    let priority = priority(direction);
    add_filter(LO, direction, program().as_fd(), FILTER_NAME, priority, handle).unwrap();
}

fn has_clsact(namespace: &Namespace) -> bool {
    namespace.json("tc -j qdisc show dev lo").iter().any(|qdisc| qdisc["kind"] == "clsact")
}

#[test]
fn our_filter_is_there_with_its_name_until_deleted() {
    let namespace = Namespace::new();
    namespace.run(|| {
        assert!(ensure_clsact(LO).unwrap(), "we made it");
        let handle = Slot::claim().unwrap().handle(true);
        add(Ingress, handle);
        add(Egress, handle);
        for (direction, priority) in [(Ingress, INGRESS_PRIORITY), (Egress, EGRESS_PRIORITY)] {
            let filters = list_filters(LO, direction).unwrap();
            assert_eq!(filters.len(), 1);
            let filter = &filters[0];
            assert_eq!((filter.priority, filter.handle), (priority, handle));
            assert_eq!((filter.kind.as_str(), filter.protocol), ("bpf", 3));
            assert_eq!(filter.name.as_deref(), Some(FILTER_NAME));
            assert!(filter.prog_id.is_some());
        }
    });
    let shown = namespace.json("tc -j filter show dev lo ingress");
    let options = shown.iter().find_map(|filter| filter["options"].as_object()).unwrap();
    assert_eq!(options["bpf_name"], FILTER_NAME);
    assert_eq!(options["direct-action"], true);
    namespace.run(|| {
        let handle = list_filters(LO, Ingress).unwrap()[0].handle;
        assert!(!delete_clsact_if_empty(LO).unwrap(), "it is not empty");
        delete_filter(LO, Ingress, INGRESS_PRIORITY, handle).unwrap();
        delete_filter(LO, Egress, EGRESS_PRIORITY, handle).unwrap();
        assert!(delete_clsact_if_empty(LO).unwrap());
    });
    assert!(!has_clsact(&namespace));
}

#[test]
fn a_foreign_filter_of_the_same_priority_survives() {
    let namespace = Namespace::new();
    namespace.shell(
        "tc qdisc add dev lo clsact
         tc filter add dev lo ingress prio 1 handle 7 bpf bytecode '1,6 0 0 0,'",
    );
    let before = namespace.json("tc -j filter show dev lo ingress");
    namespace.run(|| {
        assert!(!ensure_clsact(LO).unwrap(), "it was there");
        let handle = Slot::claim().unwrap().handle(false);
        add(Ingress, handle);
        assert_eq!(list_filters(LO, Ingress).unwrap().len(), 2);
        delete_filter(LO, Ingress, INGRESS_PRIORITY, handle).unwrap();
        assert!(!delete_clsact_if_empty(LO).unwrap());
    });
    assert_eq!(namespace.json("tc -j filter show dev lo ingress"), before);
}

#[test]
fn deleting_what_is_gone_already_is_no_error() {
    Namespace::new().run(|| {
        let handle = Slot::claim().unwrap().handle(true);
        delete_filter(LO, Ingress, INGRESS_PRIORITY, handle).unwrap();
        delete_filter(4711, Ingress, INGRESS_PRIORITY, handle).unwrap();
        ensure_clsact(LO).unwrap();
        delete_filter(LO, Ingress, INGRESS_PRIORITY, handle).unwrap();
        add(Ingress, Slot::claim().unwrap().handle(false));
        delete_filter(LO, Ingress, INGRESS_PRIORITY, handle).unwrap();
        assert_eq!(list_filters(LO, Ingress).unwrap().len(), 1, "another handle");
        assert!(delete_clsact_if_empty(4711).unwrap());
    });
}

#[test]
fn a_taken_handle_and_an_ingress_qdisc_are_clear_errors() {
    let namespace = Namespace::new();
    namespace.run(|| {
        ensure_clsact(LO).unwrap();
        let handle = Slot::claim().unwrap().handle(true);
        add(Ingress, handle);
        let again =
            add_filter(LO, Ingress, program().as_fd(), FILTER_NAME, INGRESS_PRIORITY, handle);
        assert!(format!("{:#}", again.unwrap_err()).contains("File exists"));
        assert!(ensure_clsact(4711).is_err(), "no such device");
    });
    let namespace = Namespace::new();
    namespace.shell("tc qdisc add dev lo ingress");
    let error = namespace.run(|| ensure_clsact(LO)).unwrap_err();
    assert!(error.to_string().contains("ingress qdisc"), "{error}");
}

#[test]
fn slots_are_distinct_while_held_and_free_afterwards() {
    Namespace::new().run(|| {
        let slots: Vec<_> = (0..16).map(|_| Slot::claim().unwrap()).collect();
        let mut handles: Vec<_> = slots.iter().map(|slot| slot.handle(false)).collect();
        let first = handles[0];
        handles.dedup();
        assert_eq!(handles.len(), 16);
        assert!(Slot::claim().is_err(), "all are taken");
        drop(slots);
        assert_eq!(Slot::claim().unwrap().handle(false), first);
    });
    let other = Namespace::new();
    let _held = other.run(|| Slot::claim().unwrap());
    let (here, there) = (Namespace::new(), other);
    let handle = |namespace: &Namespace| namespace.run(|| Slot::claim().unwrap().handle(false));
    assert_ne!(handle(&here), handle(&there), "slots are those of one network namespace");
}

#[test]
fn what_a_dead_owner_left_is_removed_with_the_qdisc_it_made() {
    let namespace = Namespace::new();
    namespace.run(|| {
        let made = ensure_clsact(LO).unwrap();
        let slot = Slot::claim().unwrap();
        add(Ingress, slot.handle(made));
        add(Egress, slot.handle(made));
        assert_eq!(remove_leftovers().unwrap(), [], "its owner lives");
        drop(slot);
        let removed = remove_leftovers().unwrap();
        assert_eq!(removed.len(), 2);
        for (removed, direction) in removed.iter().zip([Ingress, Egress]) {
            assert_eq!((removed.ifindex, removed.direction), (LO, direction));
            assert!(removed.qdisc_deleted);
        }
        assert_eq!(remove_leftovers().unwrap(), []);
    });
    assert!(!has_clsact(&namespace));
}

#[test]
fn filters_and_qdiscs_of_others_survive_the_removal() {
    let namespace = Namespace::new();
    namespace.run(|| {
        let made = ensure_clsact(LO).unwrap();
        add(Ingress, Slot::claim().unwrap().handle(made));
        // Our name, but a handle that no tracer gives out.
        let handle = NonZeroU32::new(7).unwrap();
        add_filter(LO, Ingress, program().as_fd(), FILTER_NAME, 2, handle).unwrap();
    });
    namespace.shell("tc filter add dev lo ingress prio 1 handle 7 bpf bytecode '1,6 0 0 0,'");
    namespace.run(|| {
        let removed = remove_leftovers().unwrap();
        assert_eq!(removed.len(), 1);
        assert!(!removed[0].qdisc_deleted);
        let left = list_filters(LO, Ingress).unwrap();
        assert_eq!(left.len(), 2, "{left:?}");
    });
    let namespace = Namespace::new();
    namespace.shell("tc qdisc add dev lo clsact");
    namespace.run(|| {
        let made = ensure_clsact(LO).unwrap();
        add(Egress, Slot::claim().unwrap().handle(made));
        assert_eq!(remove_leftovers().unwrap().len(), 1);
    });
    assert!(has_clsact(&namespace), "it was there before us");
}

#[test]
fn who_comes_second_inherits_the_duty_to_delete_the_qdisc() {
    let namespace = Namespace::new();
    namespace.run(|| {
        let first = Slot::claim().unwrap();
        let made = ensure_clsact(LO).unwrap();
        add(Egress, first.handle(made));
        let second = Slot::claim().unwrap();
        let inherited = ensure_clsact(LO).unwrap();
        assert!(inherited);
        add(Egress, second.handle(inherited));
        delete_filter(LO, Egress, EGRESS_PRIORITY, first.handle(made)).unwrap();
        assert!(!delete_clsact_if_empty(LO).unwrap());
        drop((first, second));
        assert!(remove_leftovers().unwrap()[0].qdisc_deleted);
    });
    assert!(!has_clsact(&namespace));
}

#[test]
fn dropping_attached_filters_leaves_nothing_of_ours() {
    let namespace = Namespace::new();
    namespace.run(|| {
        let slot = Slot::claim().unwrap();
        let attach =
            |direction| ClsactFilter::attach(LO, direction, program().as_fd(), &slot).unwrap();
        let filters = [attach(Ingress), attach(Egress)];
        for direction in [Ingress, Egress] {
            assert_eq!(list_filters(LO, direction).unwrap().len(), 1);
        }
        drop(filters);
        let second = [attach(Ingress), attach(Egress)];
        assert_eq!(remove_leftovers().unwrap(), [], "we live");
        drop(second);
    });
    assert!(!has_clsact(&namespace));
    namespace.shell("tc qdisc add dev lo clsact");
    namespace.run(|| {
        let slot = Slot::claim().unwrap();
        drop(ClsactFilter::attach(LO, Egress, program().as_fd(), &slot).unwrap());
    });
    assert!(has_clsact(&namespace), "it was there before us");
}

#[test]
fn an_attachment_that_fails_leaves_no_qdisc() {
    let namespace = Namespace::new();
    namespace.run(|| {
        let slot = Slot::claim().unwrap();
        let no_program = std::fs::File::open("/dev/null").unwrap();
        assert!(ClsactFilter::attach(LO, Egress, no_program.as_fd(), &slot).is_err());
    });
    assert!(!has_clsact(&namespace));
}

#[test]
fn tracers_that_come_and_go_at_once_keep_their_filters_and_leave_no_qdisc() {
    let namespace = Namespace::new();
    let come_and_go = || {
        let slot = Slot::claim().unwrap();
        for _ in 0..200 {
            let attach =
                |direction| ClsactFilter::attach(LO, direction, program().as_fd(), &slot).unwrap();
            let _filters = [attach(Ingress), attach(Egress)];
            for direction in [Ingress, Egress] {
                let filters = list_filters(LO, direction).unwrap();
                let ours = [true, false].map(|made_qdisc| slot.handle(made_qdisc));
                assert!(filters.iter().any(|filter| ours.contains(&filter.handle)), "{filters:?}");
            }
        }
    };
    namespace.run(move || {
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(come_and_go);
            }
        });
    });
    assert!(!has_clsact(&namespace));
}

#[test]
fn who_waits_in_vain_for_another_tracer_is_told_whom_to_look_for() {
    Namespace::new().run(|| {
        let name = SocketAddr::from_abstract_name("flannel-tracer/clsact/turn").unwrap();
        let _stopped = UnixDatagram::bind_addr(&name).unwrap();
        let slot = Slot::claim().unwrap();
        let error = ClsactFilter::attach(LO, Egress, program().as_fd(), &slot).unwrap_err();
        assert!(error.to_string().contains("ss -xap"), "{error}");
    });
}
