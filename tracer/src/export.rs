//! Printing a diagnosis. Exporters make no judgement.

pub(crate) mod dns;
pub mod json;
pub mod prometheus;
#[cfg(test)]
mod tests;
pub mod text;
mod words;

pub(crate) use self::words::protocol;
pub use self::words::{RoleLink, role_links};
