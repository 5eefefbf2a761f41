//! Printing a diagnosis. Exporters make no judgement.

pub mod json;
#[cfg(test)]
mod tests;
pub mod text;
mod words;
