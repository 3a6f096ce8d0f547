//! The small JSON files of a checkpoint: config.json and preprocessor_config.json. What is
//! taken does not contradict itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use siglip2_embeddings::checkpoint::Config;
use siglip2_embeddings::image::Processor;

fuzz_target!(|data: &[u8]| {
    if let Ok(config) = Config::parse(data, "config.json") {
        let (text, vision) = (&config.text, &config.vision);
        assert!(
            text.encoder.hidden_size % text.encoder.heads == 0
                && vision.encoder.hidden_size % vision.encoder.heads == 0
        );
        assert_eq!(text.projection_size, config.dimensions());
        assert!(vision.patches() > 0 && vision.encoder.layers > 0 && text.positions > 0);
    }
    if let Ok(processor) = Processor::from_json(data, 224) {
        assert_eq!(processor.size(), 224);
        let values = processor.normalization().iter().flatten();
        assert!(values.copied().all(f32::is_finite));
    }
    if let Ok(processor) = Processor::naflex(data, 16, 256) {
        assert_eq!(processor.size(), 256);
        let values = processor.normalization().iter().flatten();
        assert!(values.copied().all(f32::is_finite));
    }
});
