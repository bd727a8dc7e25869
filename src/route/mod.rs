//! What a request is for, and which rule holds for it. Pure: no input or output, no clock.
