# Phrases of SMS: each character counts, and one outside the GSM 7-bit alphabet doubles the price.
# Carriers recognize "STOP": never translate it.
notice = Reply STOP to opt out
emoji = [emoji]
new-message = new message
fresh-link = here is your link
waiting = { $sender } +{ $count } in { $thread }
files = { $count ->
    [1] [photo]
   *[other] [{ $count } files]
}
