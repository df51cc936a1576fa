// Rust: closures, iterators, a panic that is caught.
use std::ffi::{c_char, c_int, CString};

extern "C" {
    fn corpus_begin(argc: c_int, argv: *const *const c_char);
    fn corpus_end();
    fn mark();
}

struct Marker;
impl Drop for Marker {
    fn drop(&mut self) {
        unsafe { mark() }
    }
}

#[inline(never)]
fn down(depth: u32) -> u32 {
    if depth == 0 {
        unsafe { mark() };
        return 0;
    }
    std::hint::black_box(down(depth - 1)) + 1
}

fn main() {
    let arguments: Vec<CString> = std::env::args().map(|a| CString::new(a).unwrap()).collect();
    let pointers: Vec<*const c_char> = arguments.iter().map(|a| a.as_ptr()).collect();
    unsafe { corpus_begin(pointers.len() as c_int, pointers.as_ptr()) };
    down(20);
    let mut values = vec![5, 3, 1, 4];
    values.sort_by(|a, b| {
        unsafe { mark() };
        a.cmp(b)
    });
    std::panic::set_hook(Box::new(|_| unsafe { mark() }));
    let _ = std::panic::catch_unwind(|| {
        let _marker = Marker;
        down(2);
        panic!("here");
    });
    std::thread::spawn(|| down(5)).join().unwrap();
    unsafe { corpus_end() };
}
