/* Texts: buffers, JSON strings, and what the host holds. */
#include "quill.h"

#include <stdlib.h>
#include <string.h>

void *room(void *old, size_t size) {
    void *memory = realloc(old, size);
    if (memory == NULL) abort();
    return memory;
}

void put(buffer *out, const void *bytes, size_t len) {
    if (len == 0) return;
    if (out->room - out->len < len) {
        out->room = (out->len + len) * 2;
        out->ptr = room(out->ptr, out->room);
    }
    memcpy(out->ptr + out->len, bytes, len);
    out->len += len;
}

void put_text(buffer *out, const char *text) { put(out, text, strlen(text)); }

void put_number(buffer *out, uint64_t number) {
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    put(out, digits + at, sizeof digits - at);
}

bool put_decimal(buffer *out, double number) {
    if (!(number >= 0 && number < 1e6)) return false;
    double scale = 1;
    for (int places = 0; places <= 9; places++, scale *= 10) {
        uint64_t digits = (uint64_t)(number * scale + 0.5);
        /* Both are exact, so the quotient is what a reader makes of the digits. */
        if ((double)digits / scale != number) continue;
        uint64_t whole = digits / (uint64_t)scale, rest = digits % (uint64_t)scale;
        put_number(out, whole);
        put_text(out, ".");
        for (uint64_t place = (uint64_t)scale / 10; place > rest && place > 1; place /= 10)
            put_text(out, "0");
        put_number(out, rest);
        return true;
    }
    return false;
}

void put_quoted(buffer *out, const uint8_t *text, size_t len) {
    static const char hex[] = "0123456789abcdef";
    put(out, "\"", 1);
    for (size_t at = 0; at < len; at++) {
        uint8_t c = text[at];
        if (c == '"' || c == '\\') {
            uint8_t escaped[2] = {'\\', c};
            put(out, escaped, 2);
        } else if (c == '\n') {
            put(out, "\\n", 2);
        } else if (c < 0x20) {
            char escaped[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
            put(out, escaped, 6);
        } else {
            put(out, &c, 1);
        }
    }
    put(out, "\"", 1);
}

static uint32_t four(const uint8_t *digits) {
    uint32_t value = 0;
    for (int at = 0; at < 4; at++) {
        uint8_t c = digits[at];
        value = value * 16 + (uint32_t)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
    return value;
}

static void put_scalar(buffer *out, uint32_t c) {
    uint8_t bytes[4];
    if (c < 0x80) {
        bytes[0] = (uint8_t)c;
        put(out, bytes, 1);
    } else if (c < 0x800) {
        bytes[0] = (uint8_t)(0xc0 | c >> 6);
        bytes[1] = (uint8_t)(0x80 | (c & 63));
        put(out, bytes, 2);
    } else if (c < 0x10000) {
        bytes[0] = (uint8_t)(0xe0 | c >> 12);
        bytes[1] = (uint8_t)(0x80 | (c >> 6 & 63));
        bytes[2] = (uint8_t)(0x80 | (c & 63));
        put(out, bytes, 3);
    } else {
        bytes[0] = (uint8_t)(0xf0 | c >> 18);
        bytes[1] = (uint8_t)(0x80 | (c >> 12 & 63));
        bytes[2] = (uint8_t)(0x80 | (c >> 6 & 63));
        bytes[3] = (uint8_t)(0x80 | (c & 63));
        put(out, bytes, 4);
    }
}

void put_unquoted(buffer *out, const uint8_t *json, size_t len) {
    if (len < 2) return;
    const uint8_t *at = json + 1, *end = json + len - 1;
    while (at < end) {
        const uint8_t *plain = at;
        while (at < end && *at != '\\') at++;
        put(out, plain, (size_t)(at - plain));
        if (end - at < 2) return;
        uint8_t c = at[1];
        at += 2;
        if (c != 'u') {
            static const char names[] = "bfnrt", values[] = "\b\f\n\r\t";
            const char *found = strchr(names, c);
            put(out, found ? (const void *)&values[found - names] : &c, 1);
            continue;
        }
        if (end - at < 4) return;
        uint32_t scalar = four(at);
        at += 4;
        if (scalar >= 0xd800 && scalar < 0xdc00 && end - at >= 6 && at[0] == '\\' && at[1] == 'u') {
            uint32_t low = four(at + 2);
            if (low >= 0xdc00 && low < 0xe000) {
                scalar = 0x10000 + ((scalar - 0xd800) << 10) + (low - 0xdc00);
                at += 6;
            }
        }
        /* Half of a pair is no text. */
        put_scalar(out, scalar >= 0xd800 && scalar < 0xe000 ? 0xfffd : scalar);
    }
}

protocol_string_t as_string(buffer *out) {
    protocol_string_t text = {out->ptr, out->len};
    *out = (buffer){0};
    return text;
}

protocol_list_u8_t as_bytes(buffer *out) {
    protocol_list_u8_t bytes = {out->ptr, out->len};
    *out = (buffer){0};
    return bytes;
}

protocol_string_t copied(protocol_string_t text) {
    buffer out = {0};
    put(&out, text.ptr, text.len);
    return as_string(&out);
}

bool is(protocol_string_t text, const char *other) {
    return text.len == strlen(other) && memcmp(text.ptr, other, text.len) == 0;
}

buffer read_place(place at) {
    protocol_list_u8_t bytes;
    tollgate_plugin_body_read(at.source, at.offset, (uint32_t)at.len, &bytes);
    return (buffer){bytes.ptr, bytes.len, bytes.len};
}

protocol_string_t read_string(place at) {
    buffer json = read_place(at), text = {0};
    put_unquoted(&text, json.ptr, json.len);
    free(json.ptr);
    return as_string(&text);
}

bool read_count(place at, uint64_t *count) {
    buffer json = read_place(at);
    bool good = json.len > 0 && json.len < 19;
    *count = 0;
    for (size_t digit = 0; good && digit < json.len; digit++) {
        good = json.ptr[digit] >= '0' && json.ptr[digit] <= '9';
        *count = *count * 10 + (uint64_t)(json.ptr[digit] - '0');
    }
    free(json.ptr);
    return good;
}

bool read_decimal(place at, double *number) {
    buffer json = read_place(at);
    bool good = json.len > 0 && json.len < 17, point = false;
    uint64_t digits = 0;
    double scale = 1;
    for (size_t next = 0; good && next < json.len; next++) {
        uint8_t c = json.ptr[next];
        if (c == '.') {
            good = !point;
            point = true;
        } else if (c >= '0' && c <= '9') {
            digits = digits * 10 + (uint64_t)(c - '0');
            if (point) scale *= 10;
        } else {
            good = false;
        }
    }
    free(json.ptr);
    *number = (double)digits / scale;
    return good;
}

TYPES(need_t) need_all(uint32_t source) {
    return (TYPES(need_t)){.source = source, .until.tag = TOLLGATE_PLUGIN_TYPES_WANT_ALL};
}

TYPES(need_t) keep_from(uint32_t source, uint64_t offset) {
    return (TYPES(need_t)){
        .source = source, .keep_from = offset, .until.tag = TOLLGATE_PLUGIN_TYPES_WANT_MORE};
}

TYPES(failure_t) failure(uint8_t kind, const char *message) {
    TYPES(failure_t) failed = {.kind.tag = kind};
    protocol_string_dup(&failed.message, message);
    return failed;
}

TYPES(header_t) header(const char *name, const char *value) {
    TYPES(header_t) header;
    protocol_string_dup(&header.name, name);
    protocol_string_dup(&header.value, value);
    return header;
}
