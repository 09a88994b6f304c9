#!/usr/bin/env escript
%%! -hidden -start_epmd false
%% RabbitMQ's own command line tool as a process that stays. Each line of its input is a command, its words parted by tabs. Each is
%% answered by one line: `= ` and the rows listed, or `! ` and why not, where `\n` is a line break. Other lines are to be ignored.

main([Tool, Directory]) ->
    {ok, Sections} = escript:extract(Tool, []),
    {ok, _} = zip:extract(proplists:get_value(archive, Sections), [{cwd, Directory}]),
    true = code:add_pathz(Directory),
    {ok, _} = application:ensure_all_started(elixir),
    ok = application:load(rabbitmqctl),
    ok = io:setopts([{encoding, utf8}]),
    serve([<<"-q">>, <<"-n">>, list_to_binary(os:getenv("RABBITMQ_NODENAME"))]).

serve(Options) ->
    case io:get_line("") of
        eof ->
            ok;
        Line ->
            Words = string:split(string:trim(Line, trailing, "\n"), "\t", all),
            Command = [unicode:characters_to_binary(Word) || Word <- Words],
            Keep = fun(Output, _Command, _Options) -> Output end,
            {Mark, Text} = answer(catch 'Elixir.RabbitMQCtl':exec_command(Options ++ Command, Keep)),
            io:format("~n~s~ts~n", [Mark, string:replace(Text, "\n", "\\n", all)]),
            serve(Options)
    end.

answer(ok) -> {"= ", ""};
answer({stream, Rows}) -> {"= ", lists:join("\n", [row(Row) || Row <- 'Elixir.Enum':to_list(Rows)])};
answer({ok, Text}) when is_binary(Text) -> {"= ", Text};
answer({ok, Rows}) when is_list(Rows) -> {"= ", lists:join("\n", [row(Row) || Row <- Rows])};
answer({ok, Other}) -> {"= ", cell(Other)};
answer({error, _Code, Text}) when is_binary(Text) -> {"! ", string:trim(Text)};
answer(Other) -> {"! ", cell(Other)}.

row(Row) when is_map(Row) -> row(maps:to_list(Row));
row(Row) when is_list(Row) -> lists:join("\t", [cell(Cell) || {_, Cell} <- Row]);
row(Row) -> cell(Row).

cell(Cell) when is_binary(Cell) -> Cell;
cell(Cell) when is_atom(Cell) -> atom_to_list(Cell);
cell(Cell) -> io_lib:format("~0tp", [Cell]).
