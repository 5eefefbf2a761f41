//! What the programs are measured against: the least that a program can do, the least that one
//! which counts flows can do, and a way to show either many flows in turn; the same two of drops.
//! No node ever loads these.

#![cfg_attr(target_arch = "bpf", no_std)]
#![cfg_attr(target_arch = "bpf", no_main)]

#[cfg(target_arch = "bpf")]
#[path = "yardstick/dropped.rs"]
mod dropped;
#[cfg(target_arch = "bpf")]
#[expect(dead_code, reason = "the drop programs use all of it")]
#[path = "drops/structure.rs"]
mod structure;

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::{
        EbpfContext as _,
        bindings::{__sk_buff, BPF_NOEXIST},
        macros::{classifier, map},
        maps::{Array, LruPerCpuHashMap, ProgramArray},
        programs::TcContext,
    };

    /// As long as the tracer's own table.
    const FLOWS: u32 = 65_536;
    /// TC_ACT_UNSPEC.
    const NEXT: i32 = -1;
    /// EtherType of IPv4 as it lies in memory, and where it stands.
    const IPV4: u16 = 0x0800_u16.to_be();
    const ETHERTYPE: usize = 12;
    /// Offsets behind an Ethernet header: protocol, source and destination address; behind an IPv4
    /// header without options: both ports.
    const PROTOCOL: usize = 14 + 9;
    const SOURCE: usize = 14 + 12;
    const DESTINATION: usize = 14 + 16;
    const PORTS: usize = 14 + 20;
    /// End of what is read.
    const END: usize = PORTS + 4;

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Key {
        source: u32,
        destination: u32,
        ports: u32,
        protocol: u32,
    }

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Value {
        packets: u64,
        bytes: u64,
    }

    /// How [`rotate`] goes through flows; userspace writes it between measurements.
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Rotation {
        /// Number of the next flow.
        next: u32,
        /// Begins anew here; at most 2^24.
        flows: u32,
    }

    #[map]
    static MINIMAL_FLOWS: LruPerCpuHashMap<Key, Value> =
        LruPerCpuHashMap::with_max_entries(FLOWS, 0);

    #[map]
    static ROTATION: Array<Rotation> = Array::with_max_entries(1, 0);

    #[map]
    static MEASURED: ProgramArray = ProgramArray::with_max_entries(1, 0);

    /// Returns.
    #[classifier]
    fn empty(_context: TcContext) -> i32 {
        NEXT
    }

    /// An IPv4 5-tuple by direct access, and one update in place.
    #[classifier]
    fn minimal(context: TcContext) -> i32 {
        let skb: *mut __sk_buff = context.as_ptr().cast();
        // SAFETY: the kernel hands a valid context to the program; so below.
        let data = unsafe { (*skb).data } as usize;
        // SAFETY: valid context.
        let end = unsafe { (*skb).data_end } as usize;
        if data + END > end || half(data + ETHERTYPE) != IPV4 {
            return NEXT;
        }
        let key = Key {
            source: word(data + SOURCE),
            destination: word(data + DESTINATION),
            ports: word(data + PORTS),
            protocol: u32::from(byte(data + PROTOCOL)),
        };
        // SAFETY: valid context.
        let bytes = u64::from(unsafe { (*skb).len });
        match MINIMAL_FLOWS.get_ptr_mut(key) {
            Some(value) => {
                // SAFETY: this CPU's value; nothing else on this CPU touches it meanwhile.
                let value = unsafe { &mut *value };
                value.packets += 1;
                value.bytes += bytes;
            }
            None => {
                let value = Value { packets: 1, bytes };
                let _ = MINIMAL_FLOWS.insert(key, value, u64::from(BPF_NOEXIST));
            }
        }
        NEXT
    }

    /// Makes the packet the next flow's, and hands it to the program that is measured.
    #[classifier]
    fn rotate(context: TcContext) -> i32 {
        let Some(rotation) = ROTATION.get_ptr_mut(0) else { return NEXT };
        // SAFETY: one measurement runs at a time.
        let rotation = unsafe { &mut *rotation };
        let flow = rotation.next;
        rotation.next = if flow + 1 >= rotation.flows { 0 } else { flow + 1 };
        if rename(&context, flow) {
            // SAFETY: userspace put a program of the same kind there; else nothing happens.
            unsafe { MEASURED.tail_call(&context, 0) };
        }
        NEXT
    }

    /// Writes a flow's number into the source port and the source address's last octet.
    #[inline(always)]
    fn rename(context: &TcContext, flow: u32) -> bool {
        let skb: *mut __sk_buff = context.as_ptr().cast();
        // SAFETY: valid context.
        let data = unsafe { (*skb).data } as usize;
        // SAFETY: valid context.
        let end = unsafe { (*skb).data_end } as usize;
        if data + END > end {
            return false;
        }
        // SAFETY: inside the linear part, as the line above has checked; BPF asks for no alignment.
        unsafe { core::ptr::write((data + PORTS) as *mut u16, (flow as u16).to_be()) };
        // SAFETY: as above.
        unsafe { core::ptr::write((data + DESTINATION - 1) as *mut u8, (flow >> 16) as u8) };
        true
    }

    #[inline(always)]
    fn word(at: usize) -> u32 {
        // SAFETY: the caller has checked it against the end; BPF asks for no alignment.
        unsafe { core::ptr::read(at as *const u32) }
    }

    #[inline(always)]
    fn half(at: usize) -> u16 {
        // SAFETY: as above.
        unsafe { core::ptr::read(at as *const u16) }
    }

    #[inline(always)]
    fn byte(at: usize) -> u8 {
        // SAFETY: as above.
        unsafe { core::ptr::read(at as *const u8) }
    }
}

tracer_ebpf::object!();
