//! Where a component panicked.

/// From now on a panic is told to `write`, with the place in the source and nothing else: what it
/// says beside that may have a piece of a prompt in it. The trap that follows knows no places.
///
/// A panic where nothing may be called (while the host writes arguments) stays untold.
pub fn tell(write: fn(&str)) {
    std::panic::set_hook(Box::new(move |panic| {
        if let Some(place) = panic.location() {
            write(&format!("panicked at {place}"));
        }
    }));
}
