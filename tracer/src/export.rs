//! Printing a diagnosis. Exporters make no judgement.

pub mod json;
pub mod text;
mod words;
