//! The order of scores, which whoever tells them and whoever passes them on have to agree on.

/// Puts the best first; of equal ones, the two zeros among them, the first item of the call.
pub fn best_first<T>(scores: &mut [T], of: impl Fn(&T) -> (f64, u32)) {
    scores.sort_by(|one, two| {
        let ((one, item), (two, other)) = (of(one), of(two));
        // `total_cmp` alone would tell the zeros apart.
        (two + 0.0).total_cmp(&(one + 0.0)).then(item.cmp(&other))
    });
}

#[cfg(test)]
mod tests {
    use super::best_first;

    #[test]
    fn equal_ones_stand_as_in_the_call() {
        let mut scores = [(0.0, 3), (-0.0, 2), (0.5, 1), (-1.0, 0), (0.5, 4)];
        best_first(&mut scores, |score| *score);
        assert_eq!(scores.map(|score| score.1), [1, 4, 2, 3, 0]);
    }
}
