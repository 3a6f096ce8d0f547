//! FP8 in a graph: `QuantizeLinear` and `DequantizeLinear` around what is rounded to E4M3.
//!
//! ```text
//! activation (FP16) --Q, DQ, one scale--------------+
//! weight (as stored) --cast FP16--Q, DQ, per output--+--MatMul--> FP16
//! ```
//!
//! A graph says that numbers are rounded, not how a product is computed. TensorRT takes both
//! pairs into the product and computes it in FP8; a runtime that does not gives the same numbers
//! more slowly.

use super::builder::{Builder, Value};
use super::onnx::{Attribute, Data, ElementType};
use super::scales::{LARGEST, power_of_two};
use crate::checkpoint::CheckpointError;

impl Builder<'_> {
    /// `x`, which enters `name`, rounded to E4M3; `x` itself if `name` has no scale. A linear
    /// layer that is given the result rounds its weights as well.
    pub fn quantized(&mut self, name: &str, x: &Value) -> Value {
        let Some(scale) = self.scale_of(name) else {
            return x.clone();
        };
        let name = format!("{name}.fp8");
        let rounded = self.rounded(&name, x, &[], vec![scale], Vec::new());
        self.note_rounded(&rounded);
        rounded
    }

    /// `weight`, which holds the weights of these linear layers one after the other, each
    /// `[to, from]`, rounded to E4M3 with a scale for each output.
    pub fn rounded_weight(
        &mut self,
        name: &str,
        weight: &Value,
        layers: &[&str],
        [to, from]: [usize; 2],
    ) -> Result<Value, CheckpointError> {
        let mut scales = Vec::new();
        for layer in layers {
            let largest = self.largest_of_rows(&format!("{layer}.weight"), &[to, from])?;
            scales.extend(largest.iter().map(|it| power_of_two(it / LARGEST)));
        }
        let axis = ("axis", Attribute::Int(0));
        let name = format!("{name}.weight.fp8");
        Ok(self.rounded(&name, weight, &[scales.len()], scales, vec![axis]))
    }

    /// Queries, keys and values of a rounded activation, each `width` wide, as one product: TensorRT
    /// joins the three for sm_89, and for sm_120 only if the graph does.
    pub fn projections(
        &mut self,
        attention: &str,
        x: &Value,
        width: usize,
    ) -> Result<[Value; 3], CheckpointError> {
        let parts = ["q_proj", "k_proj", "v_proj"].map(|part| format!("{attention}.{part}"));
        let half = self.half();
        let mut weights = Vec::new();
        for part in &parts {
            weights.push(self.weight(&format!("{part}.weight"), &[width, width], half)?);
        }
        let name = format!("{attention}.qkv");
        let axis = ("axis", Attribute::Int(0));
        let inputs: Vec<&Value> = weights.iter().collect();
        let weight = self.op(&format!("{name}.weight"), "Concat", &inputs, vec![axis]);
        let layers = parts.each_ref().map(String::as_str);
        let weight = self.rounded_weight(&name, &weight, &layers, [width, width])?;
        let weight = self.transpose(&format!("{name}.transpose"), &weight, &[1, 0]);
        let product = self.op(&format!("{name}.matmul"), "MatMul", &[x, &weight], vec![]);
        let products = self.split(&name, &product, &[width; 3]);
        let mut projected = Vec::new();
        for (part, product) in parts.iter().zip(products) {
            let bias = self.weight(&format!("{part}.bias"), &[width], ElementType::Float)?;
            let product = self.widened(part, &product);
            projected.push(self.op(part, "Add", &[&product, &bias], vec![]));
        }
        let mut projected = projected.into_iter();
        Ok(std::array::from_fn(|_| {
            projected.next().unwrap_or_default()
        }))
    }

    /// To E4M3 and back, with scales of the shape `dims`.
    fn rounded(
        &mut self,
        name: &str,
        x: &Value,
        dims: &[usize],
        scales: Vec<f32>,
        attributes: Vec<(&'static str, Attribute)>,
    ) -> Value {
        let dims: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
        // Its type is what says which format is meant; its values are 0, as E4M3 is signed.
        let zero = Data::Raw {
            elements: ElementType::Float8E4M3,
            bytes: vec![0; scales.len()],
        };
        let half = self.half();
        let scales = Data::Raw {
            elements: half,
            bytes: scales
                .into_iter()
                .flat_map(|scale| half::f16::from_f32(scale).to_le_bytes())
                .collect(),
        };
        let scales = self.constant(&format!("{name}.scale"), dims.clone(), scales);
        let zero = self.constant(&format!("{name}.zero"), dims, zero);
        let quantize = format!("{name}.quantize");
        let inputs = [x, &scales, &zero];
        let narrow = self.op(&quantize, "QuantizeLinear", &inputs, attributes.clone());
        self.set_type(&narrow, ElementType::Float8E4M3);
        let inputs = [&narrow, &scales, &zero];
        let wide = self.op(name, "DequantizeLinear", &inputs, attributes);
        self.set_type(&wide, half);
        wide
    }
}
