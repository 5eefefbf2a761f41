//! An object made ready for the kernel: its maps exist, its programs point to them. As aya does it
//! when the production binary loads the object, by the same library.

use std::{
    collections::HashSet,
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use aya_obj::{EbpfSectionKind, Function, Map, Program, generated::bpf_map_type};
use tracer_tests::bpf;

/// Commands of bpf(2): `enum bpf_cmd`, include/uapi/linux/bpf.h.
const MAP_CREATE: i64 = 0;
const MAP_UPDATE_ELEM: i64 = 2;
const BTF_LOAD: i64 = 18;
const MAP_FREEZE: i64 = 22;

/// What a ring buffer holds has no size of its own.
const RINGBUF: u32 = bpf_map_type::BPF_MAP_TYPE_RINGBUF as u32;

/// The kernel's words about types are as many lines as there are types.
const LOG: usize = 4 << 20;

/// Programs of an object, and what they need to be alive.
pub(crate) struct Prepared {
    /// The object's types; else why there are none.
    pub(crate) btf: Result<OwnedFd, String>,
    object: aya_obj::Object,
    _maps: Vec<OwnedFd>,
}

/// The beginning of `union bpf_attr` for BPF_MAP_CREATE.
#[repr(C)]
struct CreateMap {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

/// The same for BPF_MAP_UPDATE_ELEM.
#[repr(C)]
struct UpdateElement {
    map: u64,
    key: u64,
    value: u64,
    flags: u64,
}

/// The same for BPF_BTF_LOAD.
#[repr(C)]
struct LoadBtf {
    btf: u64,
    log: u64,
    size: u32,
    log_size: u32,
    log_level: u32,
    // The kernel refuses anything but zeros behind the fields that it knows.
    _pad: u32,
}

// === impl Prepared ===

impl Prepared {
    /// Makes the maps of `object` and ties its programs to them.
    pub(crate) fn new(object: &tracer::kernel::Object) -> Result<Self> {
        let mut parsed = aya_obj::Object::parse(object.bytes)?;
        let globals = object.globals.iter().map(|(name, value)| (*name, (&value[..], true)));
        parsed.patch_map_data(globals.collect())?;
        let btf = load_btf(&mut parsed)?;
        let maps: Vec<(String, Map, OwnedFd)> = parsed
            .maps
            .drain()
            .map(|(name, map)| {
                let descriptor = create(&map).with_context(|| format!("map {name}"))?;
                Ok((name, map, descriptor))
            })
            .collect::<Result<_>>()?;
        let text: HashSet<usize> = parsed.functions.keys().map(|(section, _)| *section).collect();
        let tied = maps.iter().map(|(name, map, fd)| (name.as_str(), fd.as_raw_fd(), map));
        parsed.relocate_maps(tied, &text)?;
        parsed.relocate_calls(&text)?;
        parsed.sanitize_functions(aya::features());
        let maps = maps.into_iter().map(|(_, _, descriptor)| descriptor).collect();
        Ok(Self { btf, object: parsed, _maps: maps })
    }

    /// Name, kind and code of every program, in order.
    pub(crate) fn programs(&self) -> Vec<(&str, &Program, &Function)> {
        let programs = self.object.programs.iter().map(|(name, program)| {
            (name.as_str(), program, &self.object.functions[&program.function_key()])
        });
        let mut programs: Vec<_> = programs.collect();
        programs.sort_unstable_by_key(|(name, ..)| *name);
        programs
    }
}

/// Gives the kernel the object's types. Some programs do without, and so does aya with these.
fn load_btf(object: &mut aya_obj::Object) -> Result<Result<OwnedFd, String>> {
    let Some(features) = aya::features().btf() else {
        return Ok(Err("this kernel takes no BTF".to_owned()));
    };
    let Some(btf) = object.fixup_and_sanitize_btf(features)? else {
        return Ok(Err("the object has no BTF".to_owned()));
    };
    let bytes = btf.to_bytes();
    let mut log = vec![0_u8; LOG];
    let mut attributes = LoadBtf {
        btf: bytes.as_ptr() as u64,
        log: log.as_mut_ptr() as u64,
        size: u32::try_from(bytes.len())?,
        log_size: LOG as u32,
        log_level: 1,
        _pad: 0,
    };
    // SAFETY: these are the attributes of the command, and bytes and log outlive the call.
    let loaded = unsafe { bpf::descriptor(BTF_LOAD, &mut attributes) };
    Ok(loaded.map_err(|error| {
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
        let log = String::from_utf8_lossy(&log[..end]);
        format!("{} ({error:#})", log.lines().last().unwrap_or("(nothing said)"))
    }))
}

fn create(map: &Map) -> Result<OwnedFd> {
    let mut attributes = CreateMap {
        map_type: map.map_type(),
        key_size: map.key_size(),
        value_size: if map.map_type() == RINGBUF { 0 } else { map.value_size() },
        max_entries: map.max_entries(),
        map_flags: map.map_flags(),
    };
    // SAFETY: these are the attributes of the command, and they hold no address.
    let descriptor = unsafe { bpf::descriptor(MAP_CREATE, &mut attributes) }?;
    if !map.data().is_empty() {
        fill(&descriptor, map.data())?;
    }
    if map.section_kind() == EbpfSectionKind::Rodata {
        let mut attributes = descriptor.as_raw_fd();
        // SAFETY: the command takes a descriptor of a map and nothing else.
        unsafe { bpf::call(MAP_FREEZE, &mut attributes) }?;
    }
    Ok(descriptor)
}

/// Writes the only value of an array.
fn fill(map: &OwnedFd, value: &[u8]) -> Result<()> {
    let key = 0_u32;
    let mut attributes = UpdateElement {
        map: map.as_raw_fd() as u64,
        key: &raw const key as u64,
        value: value.as_ptr() as u64,
        flags: 0,
    };
    // SAFETY: these are the attributes of the command; key and value outlive the call, and the map
    // was made for values of this length.
    unsafe { bpf::call(MAP_UPDATE_ELEM, &mut attributes) }?;
    Ok(())
}
