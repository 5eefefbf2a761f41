use super::*;

/// BTF made by hand: types in the order of their numbers, from 1 on.
#[derive(Default)]
struct Builder {
    types: Vec<u8>,
    strings: Vec<u8>,
}

impl Builder {
    fn name(&mut self, name: &str) -> u32 {
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        at
    }

    /// A type: kind, number of entries, size or target, and the words that its kind adds.
    fn add(&mut self, kind: u32, name: &str, length: u32, target: u32, words: &[u32]) {
        let head = [self.name(name), kind << 24 | length, target];
        for word in head.iter().chain(words) {
            self.types.extend(word.to_ne_bytes());
        }
    }

    /// A structure or union of members: name, type, offset in bits.
    fn add_structure(&mut self, kind: u32, name: &str, members: &[(&str, u32, u32)]) {
        let mut words = Vec::new();
        for (name, number, bits) in members {
            words.extend([self.name(name), *number, *bits]);
        }
        self.add(kind, name, members.len() as u32, 64, &words);
    }

    fn build(&self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut data = MAGIC.to_ne_bytes().to_vec();
        data.extend([1, 0]);
        for word in [24, 0, types, types, strings] {
            data.extend(u32::to_ne_bytes(word));
        }
        [data, self.types.clone(), self.strings.clone()].concat()
    }
}

/// ```c
/// int;                                                                    // 1
/// struct device { int a; int index; };                                    // 2
/// struct device *;                                                        // 3
/// union { struct device *dev; int scratch; };                             // 4
/// struct { int next; union above; };                                      // 5
/// const struct device; typedef 6 device_t;                                // 6, 7
/// struct packet { int; struct above at 8; device_t inside at 32; };       // 8
/// enum reason { A = 0, B = 5 };                                           // 9
/// int (void *, int, int); a pointer to it; typedef btf_trace_x;           // 10, 11, 12
/// ```
fn example() -> Builder {
    let mut btf = Builder::default();
    btf.add(1, "int", 0, 4, &[32]);
    btf.add_structure(STRUCT, "device", &[("a", 1, 0), ("index", 1, 32)]);
    btf.add(PTR, "", 0, 2, &[]);
    btf.add_structure(UNION, "", &[("dev", 3, 0), ("scratch", 1, 0)]);
    btf.add_structure(STRUCT, "", &[("next", 1, 0), ("", 4, 64)]);
    btf.add(10, "", 0, 2, &[]);
    btf.add(TYPEDEF, "device_t", 0, 6, &[]);
    btf.add_structure(STRUCT, "packet", &[("first", 1, 0), ("", 5, 64), ("inside", 7, 256)]);
    let (a, b) = (btf.name("A"), btf.name("B"));
    btf.add(ENUM, "reason", 2, 4, &[a, 0, b, 5]);
    btf.add(FUNC_PROTO, "", 3, 1, &[0, 3, 0, 1, 0, 1]);
    btf.add(PTR, "", 0, 10, &[]);
    btf.add(TYPEDEF, "btf_trace_x", 0, 11, &[]);
    btf
}

fn parsed() -> Btf {
    Btf::parse(example().build()).unwrap()
}

#[test]
fn members_of_unnamed_structures_and_unions_are_found() {
    let btf = parsed();
    assert_eq!(btf.offset("packet", &["first"]), Some(0));
    assert_eq!(btf.offset("packet", &["next"]), Some(8));
    assert_eq!(btf.offset("packet", &["dev"]), Some(16));
    assert_eq!(btf.offset("packet", &["scratch"]), Some(16));
}

#[test]
fn a_path_goes_through_typedefs_and_qualifiers_but_not_through_pointers() {
    let btf = parsed();
    assert_eq!(btf.offset("packet", &["inside", "index"]), Some(36));
    assert_eq!(btf.offset("packet", &["dev", "index"]), None);
}

#[test]
fn what_is_not_there_is_not_found() {
    let btf = parsed();
    assert_eq!(btf.offset("packet", &["second"]), None);
    assert_eq!(btf.offset("parcel", &["first"]), None);
    assert_eq!(btf.offset("reason", &["A"]), None);
    assert_eq!(btf.enumerators("packet"), None);
    assert_eq!(btf.tracepoint_arguments("y"), None);
}

#[test]
fn enumerators_and_arguments_are_read() {
    let btf = parsed();
    assert_eq!(btf.enumerators("reason"), Some(vec![(0, "A"), (5, "B")]));
    assert_eq!(btf.tracepoint_arguments("x"), Some(2));
}

#[test]
fn the_first_structure_that_has_the_member_counts() {
    let mut btf = example();
    btf.add_structure(STRUCT, "packet", &[("other", 1, 96)]);
    let btf = Btf::parse(btf.build()).unwrap();
    assert_eq!(btf.offset("packet", &["other"]), Some(12));
    assert_eq!(btf.offset("packet", &["dev"]), Some(16));
}

#[test]
fn the_width_of_a_bit_field_is_no_part_of_its_offset() {
    let mut btf = Builder::default();
    btf.add(1, "int", 0, 4, &[32]);
    let (name, members) = (btf.name("bit"), [("wide", 1, 64)]);
    btf.add_structure(STRUCT, "plain", &members);
    btf.add(1 << 7 | STRUCT, "fields", 1, 8, &[name, 1, 3 << 24 | 40]);
    let btf = Btf::parse(btf.build()).unwrap();
    assert_eq!(btf.offset("plain", &["wide"]), Some(8));
    assert_eq!(btf.offset("fields", &["bit"]), Some(5));
}

#[test]
fn damage_is_an_error_or_nothing_found_and_never_a_panic() {
    let whole = example().build();
    for length in 0..whole.len() {
        if let Ok(btf) = Btf::parse(whole[..length].to_vec()) {
            let _ = btf.offset("packet", &["inside", "index"]);
            let _ = (btf.enumerators("reason"), btf.tracepoint_arguments("x"));
        }
    }
    for at in 0..whole.len() {
        let mut broken = whole.clone();
        broken[at] ^= 0xff;
        if let Ok(btf) = Btf::parse(broken) {
            let _ = btf.offset("packet", &["inside", "index"]);
            let _ = (btf.enumerators("reason"), btf.tracepoint_arguments("x"));
        }
    }
    assert!(Btf::parse(Vec::new()).is_err());
    let mut unknown = Builder::default();
    unknown.add(31, "new", 0, 0, &[]);
    assert!(Btf::parse(unknown.build()).is_err());
}

#[test]
fn the_running_kernel_shows_what_the_drop_programs_need() {
    let btf = match Btf::of_kernel() {
        Ok(btf) => btf,
        // A kernel without type information has nothing to compare.
        Err(BtfError::Read(error)) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(btf.offset("sk_buff", &["next"]), Some(0));
    // It follows `next` and `prev` in a union with two other types.
    assert_eq!(btf.offset("sk_buff", &["dev"]), Some(16));
    assert!(btf.tracepoint_arguments("kfree_skb").unwrap() >= 2);
    if let Some(reasons) = btf.enumerators("skb_drop_reason") {
        assert!(reasons.iter().any(|(_, name)| *name == "SKB_DROP_REASON_NO_SOCKET"));
    }
}
