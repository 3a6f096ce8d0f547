//! Floating-point operations of a row, matrix products only: two for each weight and token, and
//! the two products of attention. Every implementation needs these, so a rate times this number
//! is the GPU's useful throughput. For siglip2-base: 35.4 and 11.0 GFLOP.

use siglip2_model::checkpoint::{TextConfig, VisionConfig};

/// Of one image of so many patches.
pub fn image(config: &VisionConfig, patches: usize) -> f64 {
    let (tokens, width) = (patches as f64, config.encoder.hidden_size as f64);
    let feed_forward = config.encoder.intermediate_size as f64;
    let patch = (3 * config.patch_size * config.patch_size) as f64;
    let embedding = 2.0 * tokens * patch * width;
    // The probe attends to all tokens: keys and values for each, everything else for one.
    let head = 2.0 * (2.0 * tokens + 2.0) * width * width
        + 4.0 * tokens * width
        + 4.0 * width * feed_forward;
    embedding + config.encoder.layers as f64 * layer(tokens, width, feed_forward) + head
}

/// Of one text.
pub fn text(config: &TextConfig) -> f64 {
    let (tokens, width) = (config.positions as f64, config.encoder.hidden_size as f64);
    let layers = config.encoder.layers as f64
        * layer(tokens, width, config.encoder.intermediate_size as f64);
    layers + 2.0 * width * config.projection_size as f64
}

/// Four projections, attention's two products, and the feed-forward network.
fn layer(tokens: f64, width: f64, feed_forward: f64) -> f64 {
    8.0 * tokens * width * width
        + 4.0 * tokens * tokens * width
        + 4.0 * tokens * width * feed_forward
}

#[cfg(test)]
mod tests {
    use super::*;
    use siglip2_model::checkpoint::Config;

    #[test]
    fn siglip2_base_costs_what_its_shape_says() {
        let tower = r#""hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
                       "num_attention_heads": 12"#;
        let json = format!(
            r#"{{"model_type": "siglip",
                 "text_config": {{{tower}, "vocab_size": 256000, "max_position_embeddings": 64}},
                 "vision_config": {{{tower}, "image_size": 224, "patch_size": 16}}}}"#
        );
        let config = Config::parse(json.as_bytes(), "config.json").unwrap();
        let giga = |flop: f64| (flop / 1e8).round() / 10.0;
        assert_eq!(giga(image(&config.vision, config.vision.patches())), 35.4);
        assert_eq!(giga(text(&config.text)), 11.0);
    }
}
