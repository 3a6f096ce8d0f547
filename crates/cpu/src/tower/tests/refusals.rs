//! What a tower refuses.

use std::sync::Arc;

use super::made::{Made, shapes, shared, texts};
use crate::error::Error;
use crate::source::Source;
use crate::team::Team;
use crate::tower::{Input, Keep, Patches, TextTower, VisionTower};

#[test]
fn what_is_wrong_is_said() {
    let kernel = crate::kernel::Fp32::new(crate::simd::Portable);
    let team = Team::new(1);
    let (vision, text) = shapes().remove(0);
    let mut made = Made::new(&vision, &text);
    made.tensors.get_mut("vision_model.head.probe").unwrap().0 = vec![1, 48];
    made.tensors
        .get_mut("text_model.head.bias")
        .unwrap()
        .1
        .pop();
    made.tensors.remove("text_model.final_layer_norm.bias");
    let made: Arc<dyn Source> = Arc::new(made);
    let error = VisionTower::load(kernel, &team, &made, vision.clone(), Keep::Packed)
        .err()
        .unwrap();
    assert!(
        matches!(&error, Error::Misshapen { name, .. } if name.ends_with("probe")),
        "{error}"
    );
    let load = |made: Arc<dyn Source>| {
        TextTower::load(kernel, &team, made, text, Keep::Packed)
            .err()
            .unwrap()
    };
    assert_eq!(
        load(made),
        Error::Missing("text_model.final_layer_norm.bias".into())
    );
    let mut made = Made::new(&vision, &text);
    made.tensors
        .get_mut("text_model.head.bias")
        .unwrap()
        .1
        .pop();
    assert_eq!(
        load(Arc::new(made)),
        Error::Short("text_model.head.bias".into())
    );

    let made = Arc::new(Made::new(&vision, &text));
    let words = TextTower::load(kernel, &team, made.clone(), text, Keep::Packed).unwrap();
    let mut ids = texts(1, &text).remove(0);
    let mut row = vec![0.0; text.projection];
    let run = |ids: &[i32], row: &mut [f32]| words.run(&team, &[ids], None, &mut || (), row);
    assert!(matches!(run(&ids[1..], &mut row), Err(Error::Input(_))));
    assert!(matches!(run(&ids, &mut row[1..]), Err(Error::Input(_))));
    for wrong in [-1, text.vocabulary as i32] {
        ids[3] = wrong;
        let error = run(&ids, &mut row).unwrap_err();
        assert!(
            error.to_string().contains(&format!("token id {wrong} ")),
            "{error}"
        );
    }
    let tower =
        VisionTower::load(kernel, &team, &shared(&made), vision.clone(), Keep::Packed).unwrap();
    let run = |input: Input<'_>| {
        let mut out = vec![0.0; vision.encoder.width];
        tower.run(&team, input, None, &mut || (), &mut out)
    };
    assert!(matches!(
        run(Input::Pictures(&[&[0; 7]])),
        Err(Error::Input(_))
    ));
    let patches = Patches {
        pixels: &[],
        height: 1,
        width: 1,
    };
    assert!(matches!(
        run(Input::Patches(&[patches])),
        Err(Error::Input(_))
    ));
}
