//! Whether a model has an encoder: a fact that only this protocol tells, carried through
//! the neutral model as an extension of the model's.

use tollgate_sdk_protocol::{inference::ModelInfo, types::Extension};

use crate::fmaas::model_info_response::ModelKind;

const NAME: &str = "fmaas.model-kind";

/// As an extension: the kind's name.
pub fn extension(kind: ModelKind) -> Extension {
    Extension {
        name: NAME.to_owned(),
        payload: kind.as_str_name().as_bytes().to_vec(),
    }
}

/// Of a model whose worker told it.
pub fn of(model: &ModelInfo) -> Option<ModelKind> {
    let told = model
        .extensions
        .iter()
        .find(|extension| extension.name == NAME)?;
    ModelKind::from_str_name(std::str::from_utf8(&told.payload).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_comes_back() {
        for kind in [ModelKind::DecoderOnly, ModelKind::EncoderDecoder] {
            let mut model = crate::backend::model_info("m".to_owned(), &Default::default());
            model.extensions = vec![extension(kind)];
            assert_eq!(of(&model), Some(kind));
        }
    }
}
