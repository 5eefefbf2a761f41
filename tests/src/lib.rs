//! The lab: flannel nodes as network namespaces on one machine.
