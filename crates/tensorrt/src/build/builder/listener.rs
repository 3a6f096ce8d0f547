//! Listens to TensorRT's log while it builds. Its functions only succeed or fail, so the reason
//! for a failure is in the log. So are the facts about an engine when there is no GPU: the
//! inspector needs a loaded engine.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};

use trtx::logger::Severity;

use crate::directory::LayerCounts;
use crate::logger::Listener;

#[derive(Debug, Default)]
pub(super) struct BuildListener(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    complaints: Vec<String>,
    /// Layers that the compiler recognized as parts of an attention.
    in_attention: HashSet<String>,
    engine_layers: Option<usize>,
    /// Kernels that were listed as computing in FP8, by the graph that they are in. There is a
    /// graph for each profile.
    in_fp8: HashMap<String, HashSet<String>>,
    weights_bytes: Option<u64>,
    context_bytes: Option<u64>,
}

impl Listener for BuildListener {
    fn hear(&self, severity: Severity, message: &str) {
        self.heard().hear(severity, message.trim());
    }
}

impl BuildListener {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// TensorRT's complaints, or `error` if there are none.
    pub fn complaints_or(&self, error: &dyn Display) -> String {
        let heard = self.heard();
        if heard.complaints.is_empty() {
            error.to_string()
        } else {
            heard.complaints.join("; ")
        }
    }

    /// What is known about a network with this many layers and these attentions.
    pub fn layers(&self, network: usize, attentions: &[String]) -> LayerCounts {
        let heard = self.heard();
        let found = attentions
            .iter()
            .filter(|name| heard.in_attention.contains(*name))
            .count();
        LayerCounts {
            network,
            attention: attentions.len(),
            // A log without any mention of attention does not mean that none was found.
            fused_attention: (!heard.in_attention.is_empty()).then_some(found),
            engine: heard.engine_layers,
            fp8_products: heard.in_fp8.values().map(products).max(),
            weights_bytes: heard.weights_bytes,
            context_bytes: heard.context_bytes,
        }
    }
}

/// How many products these kernels compute: those that were joined are named together.
fn products(kernels: &HashSet<String>) -> usize {
    let count = |kernel: &String| kernel.matches('+').count() + 1;
    kernels.iter().map(count).sum()
}

impl Heard {
    /// Parses a message. The sentences are those of TensorRT for RTX 1.7.
    fn hear(&mut self, severity: Severity, message: &str) {
        if severity <= Severity::Error {
            self.complaints.push(message.to_owned());
            return;
        }
        let between = |before: &str, behind: &str| {
            message
                .strip_prefix(before)
                .and_then(|rest| rest.strip_suffix(behind))
        };
        for line in message.lines() {
            self.list(line);
        }
        let bytes = |before| between(before, " bytes").and_then(|number| number.parse().ok());
        if let Some(name) = between("Found ", " to be part of self-attention pattern.") {
            self.in_attention.insert(name.to_owned());
        } else if let Some(layers) = between("After reformat layers: ", " layers") {
            // Logged once for each profile.
            self.engine_layers = self.engine_layers.max(layers.parse().ok());
        } else if let Some(bytes) = bytes("Total Activation Memory: ") {
            self.context_bytes = self.context_bytes.max(Some(bytes));
        } else if let Some(bytes) = bytes("Total Weights Memory: ") {
            self.weights_bytes = Some(bytes);
        }
    }

    /// Parses a line of the list of an engine's kernels, which is logged if it is built with
    /// details: `Name: a.matmul_myl0_3, LayerType: gemm, Inputs: [...], Constants: [...], ...`.
    /// A product is in FP8 if what it reads is: an input, and an input or a constant.
    fn list(&mut self, line: &str) {
        let Some(kernel) = line.strip_prefix("Name: ") else {
            return;
        };
        let Some((name, rest)) = kernel.split_once(", LayerType: ") else {
            return;
        };
        let is_product = rest.starts_with("gemm,") || name.contains("_mha_");
        let reads = rest.split("Outputs: [").next().unwrap_or(rest);
        if !is_product || reads.matches("Datatype: FP8,").count() < 2 {
            return;
        }
        let graph = name.rsplit_once("_myl").map_or("", |(_, place)| place);
        let graph = graph.split('_').next().unwrap_or(graph);
        self.in_fp8
            .entry(graph.to_owned())
            .or_default()
            .insert(name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_of_a_build_tells_what_is_known() {
        let heard = BuildListener::default();
        for message in [
            "Found head.softmax to be part of self-attention pattern.",
            "Found layers.0.scores to be part of self-attention pattern.",
            "After reformat layers: 1 layers",
            "Total Activation Memory: 8445952 bytes",
            "After reformat layers: 1 layers",
            "Total Activation Memory: 24444928 bytes",
            "Total Weights Memory: 1842176 bytes",
        ] {
            heard.hear(Severity::Verbose, message);
        }
        let attentions = ["head.softmax".to_owned(), "layers.0.softmax".to_owned()];
        assert_eq!(
            heard.layers(363, &attentions),
            LayerCounts {
                network: 363,
                attention: 2,
                fused_attention: Some(1),
                engine: Some(1),
                fp8_products: None,
                weights_bytes: Some(1_842_176),
                context_bytes: Some(24_444_928),
            }
        );
        assert_eq!(heard.complaints_or(&"no"), "no");
    }

    #[test]
    fn the_products_in_fp8_are_those_that_read_it() {
        let line = |name: &str, kind: &str, left: &str, right: &str| {
            format!(
                "Name: {name}, LayerType: {kind}, Inputs: [ {{ Name: x, Dimensions: [-1,768], \
                 Datatype: {left}, Format: (Linear) }}], Constants: [ {{ Name: w, Datatype: \
                 {right}, Format: (Transposed) }}], Outputs: [ {{ Name: y, Datatype: FP8, \
                 Format: (Linear) }}], TacticName: stub"
            )
        };
        let graph = |graph: usize| {
            [
                line(&format!("a.matmul_myl{graph}_1"), "gemm", "FP8", "FP8"),
                line(
                    &format!("k.matmul+v.matmul_myl{graph}_2"),
                    "gemm",
                    "FP8",
                    "FP8",
                ),
                line(&format!("_gemm_mha_v2_myl{graph}_3"), "kgen", "FP8", "FP8"),
                line(&format!("b.matmul_myl{graph}_4"), "gemm", "Half", "Half"),
                line(&format!("__myl_Cast_myl{graph}_5"), "kgen", "FP8", "FP8"),
            ]
            .join("\n")
        };
        let heard = BuildListener::default();
        heard.hear(Severity::Verbose, &graph(0));
        heard.hear(Severity::Verbose, &graph(1));
        assert_eq!(heard.layers(9, &[]).fp8_products, Some(4));
    }

    #[test]
    fn a_log_in_other_words_tells_nothing() {
        let heard = BuildListener::default();
        heard.hear(Severity::Info, "Activations take 12 bytes");
        heard.hear(
            Severity::Error,
            " In node 3 with name: gelu: unsupported \n",
        );
        let layers = heard.layers(10, &["softmax".to_owned()]);
        assert_eq!((layers.fused_attention, layers.engine), (None, None));
        let said = heard.complaints_or(&"no");
        assert_eq!(said, "In node 3 with name: gelu: unsupported");
    }
}
