//! Properties of how texts become vectors.

use super::{Property, Question};

/// Sentences of a few tokens.
pub(super) const SENTENCES: [&str; 6] = [
    "a red circle",
    "two dogs running on a beach",
    "three blue stars on a black background",
    "the skyline of a city at night",
    "a bowl of fruit on a wooden table",
    "green squares",
];

/// 63 words and more: longer than the 64 tokens that the model reads, with the end token.
const LONG: [&str; 3] = [
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen \
     sixteen seventeen eighteen nineteen twenty one two three four five six seven eight nine ten \
     eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty one two \
     three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen \
     seventeen eighteen nineteen twenty one two three",
    "a photo of a very long list of things: apples, pears, plums, cherries, grapes, oranges, \
     lemons, limes, melons, peaches, apricots, figs, dates, bananas, mangos, papayas, kiwis, \
     berries, nuts, seeds, leaves, roots, stems, flowers, mushrooms, herbs, spices, grains, \
     breads, cheeses, eggs, milk, butter, cream, honey, jam, sugar, salt, pepper, oil, vinegar, \
     and a single blue star at the end of it",
    "ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha \
     ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha \
     ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha",
];

pub(super) fn properties() -> Vec<Property> {
    vec![
        Property {
            id: "texts.short",
            title: "short sentences",
            why: "SigLIP was trained on texts padded to 64 tokens without a mask; a server that \
                  does not pad gives vectors with cosines of about 0.6 to the right ones",
            question: Question::Texts(&SENTENCES),
        },
        Property {
            id: "texts.one-word",
            title: "single words and letters",
            why: "the shorter a text, the more of what the tower reads is padding",
            question: Question::Texts(&["cat", "star", "a", "7"]),
        },
        Property {
            id: "texts.upper-case",
            title: "upper case as the checkpoint's tokenizer treats it",
            why: "SigLIP 2's tokenizer lower-cases texts, which tokenizer.json alone does not say",
            question: Question::Texts(&[
                "A Red Circle",
                "TWO DOGS RUNNING ON A BEACH",
                "The Eiffel Tower in Paris",
                "ÜBER DEN WOLKEN",
            ]),
        },
        Property {
            id: "texts.languages",
            title: "other languages and scripts",
            why: "the server normalizes Unicode, drops characters, or has another vocabulary",
            question: Question::Texts(&[
                "ein roter kreis auf weißem grund",
                "une étoile bleue",
                "cafe\u{301} cre\u{300}me",
                "красный круг",
                "一个红色的圆圈",
                "赤い丸",
                "빨간 원",
                "دائرة حمراء",
                "एक लाल वृत्त",
                "🔴 a 🌟 and a 👩‍🚀",
            ]),
        },
        Property {
            id: "texts.white-space",
            title: "white space as it stands",
            why: "the server trims texts or joins blanks, or its tokenizer adds one in front",
            question: Question::Texts(&[
                " a red circle",
                "a red circle ",
                "a  red   circle",
                "a red\ncircle",
                "a\tred\u{a0}circle",
            ]),
        },
        Property {
            id: "texts.punctuation",
            title: "punctuation and digits",
            why: "SigLIP 1 removes punctuation and SigLIP 2 keeps it; the server has the wrong \
                  one's tokenizer",
            question: Question::Texts(&[
                "a red circle.",
                "\"a\" (red) circle!?",
                "price: $12.50 - 30% off",
                "photo_2024-05-17.jpg",
                "c++ & c#",
            ]),
        },
        Property {
            id: "texts.long",
            title: "long texts cut to the model's length, with the end token kept",
            why: "the server refuses them, cuts the end token off, or reads more than the model \
                  has positions for",
            question: Question::Texts(&LONG),
        },
        Property {
            id: "texts.empty",
            title: "the empty text",
            why: "the server refuses it, or gives a vector of zeros",
            question: Question::Texts(&[""]),
        },
        Property {
            id: "texts.special-tokens",
            title: "special tokens that are written in a text",
            why: "transformers reads them as the tokens; a server may escape or drop them",
            question: Question::Texts(&["a cat<eos>", "<pad>a cat", "<bos> a cat", "<unk>"]),
        },
        Property {
            id: "texts.batch",
            title: "several texts of unequal length in one request",
            why: "the server pads to the longest text of the request, or mixes up its rows",
            question: Question::TextsTogether(&[
                "a red circle",
                "three blue stars on a black background beside a very large green square",
                "cat",
                "two dogs running on a beach",
                "a bowl of fruit",
            ]),
        },
    ]
}
