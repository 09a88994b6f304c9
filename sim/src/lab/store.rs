//! What a program keeps when its process crashes, and the moment of the crash.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;

/// A handle on what a program has on its own disk, or in its own database: it outlives the process.
///
/// A write is durable at once and is done in whole or not at all. After the step at which the process crashes nothing is written any
/// more, although the program's code still runs to the end of its event; so what stands there before an ack and what stands behind it
/// is told apart.
#[derive(Debug)]
pub struct Store<T> {
    content: Rc<RefCell<T>>,
    lifeline: Rc<Lifeline>,
}

impl<T> Store<T> {
    pub(super) fn new(content: T, lifeline: Rc<Lifeline>) -> Self {
        Self { content: Rc::new(RefCell::new(content)), lifeline }
    }

    /// Looks at it.
    ///
    /// # Panics
    /// If it is being written to.
    pub fn read(&self) -> Ref<'_, T> {
        self.content.borrow()
    }

    /// Changes it, unless the process has crashed.
    ///
    /// # Panics
    /// If it is being looked at, or written to.
    pub fn write(&self, change: impl FnOnce(&mut T)) {
        if self.lifeline.step() {
            change(&mut self.content.borrow_mut());
        }
    }
}

impl<T> Clone for Store<T> {
    /// Another handle on the same content.
    fn clone(&self) -> Self {
        Self { content: Rc::clone(&self.content), lifeline: Rc::clone(&self.lifeline) }
    }
}

/// Whether the program that runs at the moment is still alive. There is one for all programs of a lab, since one runs at a time.
#[derive(Debug, Default)]
pub(super) struct Lifeline {
    /// Steps until the crash; `None` if there is none to come in this event.
    left: Cell<Option<u64>>,
    crashes: Cell<u64>,
}

impl Lifeline {
    /// The process does something that is seen outside of it. Whether it is still there to do it.
    pub(super) fn step(&self) -> bool {
        match self.left.get() {
            None => true,
            Some(0) => false,
            Some(left) => {
                self.left.set(Some(left - 1));
                true
            }
        }
    }

    /// The process will crash after so many steps more.
    pub(super) fn cut_after(&self, steps: u64) {
        self.left.set(Some(steps));
        self.crashes.set(self.crashes.get() + 1);
    }

    /// Whoever runs next is alive.
    pub(super) fn mend(&self) {
        self.left.set(None);
    }

    /// Crashes so far.
    pub(super) fn crashes(&self) -> u64 {
        self.crashes.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_after_the_crash() {
        let lifeline = Rc::new(Lifeline::default());
        let store = Store::new(Vec::new(), Rc::clone(&lifeline));
        store.write(|content| content.push(1));
        lifeline.cut_after(1);
        store.write(|content| content.push(2));
        store.write(|content| content.push(3));
        lifeline.mend();
        let other = store.clone();
        store.write(|content| content.push(4));
        assert_eq!(*other.read(), [1, 2, 4]);
        assert_eq!(lifeline.crashes(), 1);
    }
}
