//! Every step that led to a state, and the way back.
//!
//! Invariant: undo and redo give back exactly what was there; a change after an undo ends the way forward; a gesture is one step; no
//! more than [`LIMIT`] steps are kept. Guarded by the tests below, against plain vectors.

use std::collections::VecDeque;
use std::sync::Arc;

/// Most steps that can be undone.
pub const LIMIT: usize = 200;

/// A state, the steps behind it and those undone.
#[derive(Debug)]
pub struct History<T> {
    now: Arc<T>,
    behind: VecDeque<Step<T>>,
    ahead: Vec<Step<T>>,
    /// The gesture that the last step belongs to, while it can still go on; else 0.
    gesture: u64,
}

/// The state at the other end of a step.
#[derive(Debug)]
struct Step<T> {
    label: &'static str,
    state: Arc<T>,
}

impl<T: PartialEq> History<T> {
    /// A history that begins with `now`.
    pub fn new(now: Arc<T>) -> Self {
        Self { now, behind: VecDeque::new(), ahead: Vec::new(), gesture: 0 }
    }

    /// The state.
    pub fn now(&self) -> &Arc<T> {
        &self.now
    }

    /// Makes `next` the state. Changes of the same `gesture` other than 0 are one step. Returns whether anything changed.
    pub fn edit(&mut self, label: &'static str, gesture: u64, next: T) -> bool {
        if next == *self.now {
            return false;
        }
        let state = std::mem::replace(&mut self.now, Arc::new(next));
        if gesture == 0 || gesture != self.gesture {
            self.behind.push_back(Step { label, state });
            if self.behind.len() > LIMIT {
                self.behind.pop_front();
            }
        }
        self.ahead.clear();
        self.gesture = gesture;
        true
    }

    /// One step back; its label.
    pub fn undo(&mut self) -> Option<&'static str> {
        let Step { label, state } = self.behind.pop_back()?;
        let state = std::mem::replace(&mut self.now, state);
        self.ahead.push(Step { label, state });
        self.gesture = 0;
        Some(label)
    }

    /// One step forward; its label.
    pub fn redo(&mut self) -> Option<&'static str> {
        let Step { label, state } = self.ahead.pop()?;
        let state = std::mem::replace(&mut self.now, state);
        self.behind.push_back(Step { label, state });
        self.gesture = 0;
        Some(label)
    }

    /// What undo would take back.
    pub fn undo_label(&self) -> Option<&'static str> {
        self.behind.back().map(|step| step.label)
    }

    /// What redo would bring back.
    pub fn redo_label(&self) -> Option<&'static str> {
        self.ahead.last().map(|step| step.label)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    /// All states in a row and a place among them: the plainest history there is.
    struct Model {
        states: Vec<u32>,
        labels: Vec<&'static str>,
        at: usize,
        gesture: u64,
    }

    impl Model {
        fn edit(&mut self, label: &'static str, gesture: u64, next: u32) {
            if next == self.states[self.at] {
                return;
            }
            self.states.truncate(self.at + 1);
            self.labels.truncate(self.at);
            if gesture != 0 && gesture == self.gesture {
                self.states[self.at] = next;
            } else {
                self.states.push(next);
                self.labels.push(label);
                self.at += 1;
            }
            self.gesture = gesture;
            if self.at > LIMIT {
                self.states.remove(0);
                self.labels.remove(0);
                self.at -= 1;
            }
        }
    }

    #[test]
    fn any_sequence_equals_plain_vectors() {
        let labels = ["Move", "Cut", "Pin", "Turn"];
        let (mut undone, mut merged, mut full) = (0, 0, 0);
        for seed in 1..40u64 {
            let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let mut draw = |below: u64| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (random >> 33) % below
            };
            let mut history = History::new(Arc::new(0));
            let mut model = Model { states: vec![0], labels: vec![], at: 0, gesture: 0 };
            // Some runs hardly undo, so that they reach the limit.
            let edits = if seed % 3 == 0 { 18 } else { 11 };
            for _ in 0..1500 {
                match draw(20) {
                    roll if roll < edits => {
                        let (label, gesture, next) = (labels[draw(4) as usize], draw(4), draw(6) as u32);
                        merged += u64::from(gesture != 0 && gesture == model.gesture);
                        model.edit(label, gesture, next);
                        history.edit(label, gesture, next);
                    }
                    roll if roll % 2 == 0 => {
                        let label = model.at.checked_sub(1).map(|before| model.labels[before]);
                        assert_eq!(history.undo(), label);
                        undone += u64::from(label.is_some());
                        if label.is_some() {
                            (model.at, model.gesture) = (model.at - 1, 0);
                        }
                    }
                    _ => {
                        let label = model.labels.get(model.at).copied();
                        assert_eq!(history.redo(), label);
                        if label.is_some() {
                            (model.at, model.gesture) = (model.at + 1, 0);
                        }
                    }
                }
                assert_eq!(**history.now(), model.states[model.at]);
                assert_eq!(history.undo_label(), model.at.checked_sub(1).map(|before| model.labels[before]));
                assert_eq!(history.redo_label(), model.labels.get(model.at).copied());
                full += u64::from(history.behind.len() == LIMIT);
                assert!(history.behind.len() <= LIMIT);
            }
        }
        assert!(undone > 1000 && merged > 1000 && full > 10, "{undone} {merged} {full}");
    }

    #[test]
    fn steps_share_their_states() {
        let mut history = History::new(Arc::new(vec![1.0f32; 1000]));
        let first = history.now().clone();
        history.edit("Change", 0, vec![2.0; 1000]);
        history.undo();
        assert!(Arc::ptr_eq(history.now(), &first));
    }
}
