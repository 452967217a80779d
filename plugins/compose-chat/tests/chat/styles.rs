//! Templates of four kinds, written anew in the forms that their makers publish: ChatML, Llama 2
//! (`[INST]` and `<<SYS>>`), Llama 3 (headers, tools and the date), Mistral (`[AVAILABLE_TOOLS]`,
//! roles that must alternate). The prompts are the models' published prompt formats.

use serde_json::json;
use tollgate_sdk_compose::types::FailureKind;

use crate::support::{asked, chat, message, options, prompt};

const CHATML: &str = r#"{% for message in messages %}
{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}
{% endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant\n' }}
{% endif %}"#;

/// Jinja keeps the line break behind `}}`; behind a block's end it is trimmed.
#[test]
fn chatml() {
    let model = json!({"template": CHATML.replace("}}\n{%", "}}{%"), "eos-token": "<|im_end|>"});
    let got = prompt(
        &options(&model),
        chat(&[
            ("system", "You are terse."),
            ("user", "Hi\nthere"),
            ("assistant", "Hm."),
            ("user", "{{ 7 }} <b>&</b>"),
        ]),
    );
    assert_eq!(
        got,
        "<|im_start|>system\nYou are terse.<|im_end|>\n\
         <|im_start|>user\nHi\nthere<|im_end|>\n\
         <|im_start|>assistant\nHm.<|im_end|>\n\
         <|im_start|>user\n{{ 7 }} <b>&</b><|im_end|>\n\
         <|im_start|>assistant\n"
    );
}

const LLAMA_2: &str = r#"
{%- if messages[0]['role'] == 'system' -%}
    {%- set system = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' -%}
    {%- set turns = messages[1:] -%}
{%- else -%}
    {%- set system = '' -%}
    {%- set turns = messages -%}
{%- endif -%}
{%- for turn in turns -%}
    {%- if (turn['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') -}}
    {%- endif -%}
    {%- set text = system + turn['content'] if loop.first else turn['content'] -%}
    {%- if turn['role'] == 'user' -%}
        {{- bos_token + '[INST] ' + text.strip() + ' [/INST]' -}}
    {%- elif turn['role'] == 'assistant' -%}
        {{- ' ' + text.strip() + ' ' + eos_token -}}
    {%- endif -%}
{%- endfor -%}"#;

#[test]
fn llama_2() {
    let config = json!({
        "add_bos_token": true, "bos_token": "<s>", "eos_token": "</s>", "chat_template": LLAMA_2,
    });
    let model = json!({"tokenizer-config": config.to_string()});
    let talk = [
        ("system", "Be kind."),
        ("user", " Hello "),
        ("assistant", "Hi!"),
        ("user", "And?"),
    ];
    // The worker writes the first token of a beginning, and not the second.
    assert_eq!(
        prompt(&options(&model), chat(&talk)),
        "[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\n Hello [/INST] Hi! </s><s>[INST] And? [/INST]"
    );
    let kept = json!({"tokenizer-config": config.to_string(), "worker-adds-bos": false});
    assert!(prompt(&options(&kept), chat(&talk)).starts_with("<s>[INST] <<SYS>>"));

    let refused = asked(
        &options(&model),
        chat(&[("assistant", "Hi"), ("user", "Hm")]),
    );
    let failure = refused.expect_err("roles do not alternate");
    assert_eq!(failure.kind, FailureKind::InvalidArgument);
    assert_eq!(
        failure.message,
        "Conversation roles must alternate user/assistant/user/assistant/..."
    );
}

const LLAMA_3: &str = r#"{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%d %b %Y") %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\n" }}
{%- endif %}
{{- "Today Date: " + date_string + "\n\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if tools is not none and loop.first %}
        {{- '<|start_header_id|>user<|end_header_id|>\n\n' }}
        {%- for t in tools %}
            {{- t | tojson(indent=4) }}
            {{- "\n\n" }}
        {%- endfor %}
        {{- message['content'] | trim + "<|eot_id|>" }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
        {{- '{"name": "' + tool_call.name + '", "parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}<|eot_id|>" }}
    {%- elif message.role == "tool" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\n\n" }}
        {%- if message.content is mapping or message.content is iterable and message.content is not string %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- else %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"#;

#[test]
fn llama_3() {
    let config = json!({
        "bos_token": {"content": "<|begin_of_text|>"}, "eos_token": "<|eot_id|>",
        "chat_template": [{"name": "default", "template": LLAMA_3}],
    });
    let model =
        json!({"tokenizer-config": config.to_string(), "worker-adds-bos": false, "tools": "text"});
    let got = prompt(
        &options(&model),
        chat(&[("developer", " Be brief. "), ("user", "Hi ")]),
    );
    assert_eq!(
        got,
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n\
         Today Date: 26 Jul 2024\n\nBe brief.<|eot_id|>\
         <|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>\
         <|start_header_id|>assistant<|end_header_id|>\n\n"
    );

    let mut talk = chat(&[("user", "Weather in Zürich?")]);
    talk.tools =
        Some(r#"[{"type": "function", "function": {"name": "weather", "parameters": {}}}]"#.into());
    let mut called = message("assistant", "");
    called.content.clear();
    called.tool_calls = Some(
        r#"[{"id": "1", "type": "function", "function": {"name": "weather",
            "arguments": "{\"city\": \"Zürich\", \"also\": [1, null]}"}}]"#
            .into(),
    );
    let mut told = message("tool", "Rain.");
    told.tool_call_id = Some("1".into());
    talk.messages.extend([called, told]);
    assert_eq!(
        prompt(&options(&model), talk),
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n\
         Environment: ipython\nToday Date: 26 Jul 2024\n\n<|eot_id|>\
         <|start_header_id|>user<|end_header_id|>\n\n\
         {\n    \"type\": \"function\",\n    \"function\": {\n        \"name\": \"weather\",\n        \
         \"parameters\": {}\n    }\n}\n\nWeather in Zürich?<|eot_id|>\
         <|start_header_id|>assistant<|end_header_id|>\n\n\
         {\"name\": \"weather\", \"parameters\": {\"city\": \"Zürich\", \"also\": [1, null]}}<|eot_id|>\
         <|start_header_id|>ipython<|end_header_id|>\n\nRain.<|eot_id|>\
         <|start_header_id|>assistant<|end_header_id|>\n\n"
    );
}

const MISTRAL: &str = r#"{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace(index=0) %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, conversation roles must alternate user/assistant/user/assistant/...") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val|tojson }}
                    {%- endif %}
                    {%- if not loop.last %}
                        {{- ", " }}
                    {%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- else %}
                    {{- "]" }}
                {%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\n\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported!") }}
    {%- endif %}
{%- endfor %}
"#;

#[test]
fn mistral() {
    let model = json!({
        "template": MISTRAL, "bos-token": "<s>", "eos-token": "</s>", "tools": "text",
    });
    let talk = [
        ("system", "Be brief."),
        ("user", "One"),
        ("assistant", "1 "),
        ("user", "Two"),
    ];
    assert_eq!(
        prompt(&options(&model), chat(&talk)),
        "[INST] One[/INST] 1</s>[INST] Be brief.\n\nTwo[/INST]"
    );
    let mut with_tools = chat(&talk);
    with_tools.tools = Some(
        r#"[{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"z": 1, "a": 2}}}]"#.into(),
    );
    assert_eq!(
        prompt(&options(&model), with_tools),
        "[INST] One[/INST] 1</s>[AVAILABLE_TOOLS] [{\"type\": \"function\", \"function\": \
         {\"name\": \"f\", \"description\": \"d\", \"parameters\": {\"z\": 1, \"a\": 2}}}][/AVAILABLE_TOOLS]\
         [INST] Be brief.\n\nTwo[/INST]"
    );
    let twice = asked(&options(&model), chat(&[("user", "a"), ("user", "b")]));
    assert!(
        twice
            .unwrap_err()
            .message
            .starts_with("After the optional system message")
    );
    let odd = asked(&options(&model), chat(&[("user", "a"), ("critic", "b")]));
    assert_eq!(
        odd.unwrap_err().message,
        "Only user and assistant roles are supported!"
    );
}
