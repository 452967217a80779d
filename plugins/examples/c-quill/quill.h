/* What the two sides of the plugin share: short names for the bindings, and texts. */
#ifndef QUILL_H
#define QUILL_H

#include "protocol.h"

/* Types of the contract, by interface. */
#define TYPES(name) tollgate_plugin_types_##name
#define INFERENCE(name) tollgate_plugin_inference_##name
#define BODY(name) tollgate_plugin_body_##name
#define PLUGIN(name) exports_tollgate_plugin_plugin_##name
#define FRONTEND(name) exports_tollgate_plugin_frontend_##name
#define BACKEND(name) exports_tollgate_plugin_backend_##name
#define FAILURE(kind) TOLLGATE_PLUGIN_TYPES_FAILURE_KIND_##kind
#define EVENT(kind) TOLLGATE_PLUGIN_INFERENCE_EVENT_##kind

/* Memory that is asked for is there, or the instance ends. */
void *room(void *old, size_t size);

/* Bytes that grow. What goes out of the plugin is freed by the bindings. */
typedef struct {
    uint8_t *ptr;
    size_t len, room;
} buffer;

void put(buffer *out, const void *bytes, size_t len);
void put_text(buffer *out, const char *text);
void put_number(buffer *out, uint64_t number);
/* A number without an exponent. False: it has no exact decimal of at most nine places. There is no
 * `printf` here: that of the C library asks WASI for files. */
bool put_decimal(buffer *out, double number);
/* A JSON string, with its quotes. */
void put_quoted(buffer *out, const uint8_t *text, size_t len);
/* The text of a JSON string that is known to be one, quotes included. */
void put_unquoted(buffer *out, const uint8_t *json, size_t len);

/* The buffer as the bindings have texts and bytes; it is empty afterwards. */
protocol_string_t as_string(buffer *out);
protocol_list_u8_t as_bytes(buffer *out);
protocol_string_t copied(protocol_string_t text);
bool is(protocol_string_t text, const char *other);

/* A value of a JSON object that the host holds. */
typedef struct {
    uint32_t source;
    uint64_t offset, len;
    bool there;
} place;

buffer read_place(place at);
protocol_string_t read_string(place at);
/* False: it is no number that is not negative. */
bool read_count(place at, uint64_t *count);
/* False: it is no number without sign and exponent, or has more than fifteen digits. */
bool read_decimal(place at, double *number);

TYPES(need_t) need_all(uint32_t source);
TYPES(need_t) keep_from(uint32_t source, uint64_t offset);
TYPES(failure_t) failure(uint8_t kind, const char *message);
TYPES(header_t) header(const char *name, const char *value);

#endif
